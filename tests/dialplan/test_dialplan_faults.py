"""An operator's mistake is shown where it stands, with what would be right; and all mistakes are shown at once."""

# ruff: noqa: E501 (the tables are read across, a fault a line)

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import dialplan
from gateway.core.errors import ConfigError
from gateway.dialplan import Fault

FaultsOf = Callable[[str], list[Fault]]

STEPS = {
    "unknown action": ("- anwser", "4:9", "no action `anwser`", "did you mean `answer`?"),
    "unknown action with options": ("- sya: Hello", "4:9", "no action `sya`", "did you mean `say`?"),
    "unknown option": ("- say: {tekst: Hi, text: Hi}", "4:15", "`say` has no `tekst`", "did you mean `text`?"),
    "missing option": ("- say: {barge_in: off}", "4:9", "`say` needs `text`", "add `text:`"),
    "options for an action without": ("- answer: 3", "4:17", "`answer` takes options, not `3`", "it has none"),
    "no duration": ("- wait: soon", "4:15", "`seconds` wants a duration such as 3s, 500ms or 2m, not `soon`", ""),
    "endless duration": ("- wait: 99999h", "4:15", "`seconds` wants a duration of a day at most, not `99999h`", ""),
    "no file name": ('- play: "a\\0b"', "4:15", "`file` wants the name of a file", ""),
    "empty value": ("- say:", "4:9", "`say` needs `text`", "add `text:`"),
    "list for a text": ("- say: {text: [a, b]}", "4:21", "`text` must be a single value, not a list", ""),
    "text for a mapping": ("- set: x", "4:14", "`variables` must be `key: value` lines, not `x`", ""),
    "no whole number": ("- play: {file: x.wav, times: 1.5}", "4:36", "`times` wants a whole number, not `1.5`", ""),
    "number out of range": ("- reject: 200", "4:17", "`status` must be from 400 to 699, not 200", ""),
    "one of several": ("- say: {text: a, barge_in: of}", "4:34", "`barge_in` cannot be `of`", "did you mean `off`?"),
    "bad key of a telephone": ("- press: abc", "4:16", "`digits` wants keys of a telephone: 0-9, * and #", ""),
    "two actions in a step": ("- {answer: , say: Hi}", "4:20", "`say` is a second action in one step", "own `-`"),
    "no action at all": ("- []", "4:9", "a step must be an action", "as in `- answer`"),
    "music that neither plays nor ends": ("- music: {level: -3}", "4:9", "say which `file` to play", "waiting.wav"),
    "goto nowhere": ("- goto: nowhere", "4:15", "no route `nowhere`", "known: a"),
    "no such flow": ("- bot: desk", "4:14", "no flow `desk`", ""),
    "bot without anything": ("- bot: {barge_in: off}", "4:9", "a bot needs a `flow` or an `agent`", "as in `bot: desk`"),
    "variable nobody sets": ("- say: Hello {nmae}", "4:14", "nothing sets `{nmae}`", ""),
    "variable with blanks": ("- say: 'Hello {my name}'", "4:14", "nothing sets `{my name}`", ""),
    "name of a variable": ("- set: {my name: x}", "4:15", "`my name` wants a name of letters", ""),
    "digits that contradict": (
        "- gather: {say: a, into: x, digits: 2, digits_min: 3}", "4:46", "more than the 2 digits awaited", "",
    ),
    "menu without choices": ("- menu: {say: a, choices: []}", "4:24", "a menu needs a choice", "add `- {digits: 1"),
    "choice that cannot be made": (
        "- menu: {say: a, choices: [{then: a}]}", "4:34", "nothing leads to this choice", "give it `digits`",
    ),
    "choices that are the same": (
        "- menu: {say: a, choices: [{digits: 1, then: a}, {digits: 1, then: a}]}",
        "4:57", "`1` is another choice already", "make them differ",
    ),
    "step in a branch": (
        "- menu: {say: a, choices: [{digits: 1, then: [{goto: b}]}]}", "4:60", "no route `b`", "known: a",
    ),
    "transfer to nobody": ("- transfer: {to: ''}", "4:20", "nobody to connect the caller with", "a number, or a sip:"),
    "transfer without an end": ("- transfer: {mode: blind}", "4:9", "`transfer` needs `to`", "add `to:`"),
    "outcome of no transfer": (
        "- transfer: {to: 1, then: {bussy: a}}", "4:34", "a transfer has no outcome `bussy`", "did you mean `busy`?",
    ),
    "mode of no transfer": ("- transfer: {to: 1, mode: blnd}", "4:33", "`mode` cannot be `blnd`", "did you mean `blind`?"),
    "behind an end": ("- hangup\n      - answer", "5:9", "`answer` is never reached: `hangup` does not come back", ""),
    "behind an endless step": ("- echo\n      - hangup", "5:9", "`hangup` is never reached", "remove it"),
    "goes round": ("- goto: a", "2:3", "goes round for ever: a -> a", "let a step speak"),
    "alias to itself": ("- say: &x [*x]", "4:14", "an alias refers to what it stands in", ""),
    "unknown anchor": ("- say: *x", "4:14", "undefined alias", "put a star key or pattern in quotes"),
    "tags": ("- say: !!python/name:os.system x", "4:14", "tags such as tag:yaml.org,2002:python", "leave the tag out"),
    "colon in a text": ("- say: Hello: you", "4:19", "mapping values are not allowed", "in quotes"),
    "question mark": ("- say: {text: Who?}", "4:24", "expected ',' or '}', but got '?'", "in quotes"),
    "tab": ("- say:\n\t  text: x", "5:1", "cannot start any token", "indent with spaces"),
    "twice": ("- say: {text: a, text: b}", "4:24", "`text` is there twice", "the first is in line 4"),
    "missing recording": ("- play: none.wav", "4:15", "no file", "relative to the dialplan's folder"),
}  # fmt: skip


@pytest.mark.parametrize(("step", "place", "message", "remedy"), STEPS.values(), ids=STEPS.keys())
def test_a_fault_in_a_step_is_shown_where_it_stands(
    faults_of: FaultsOf, step: str, place: str, message: str, remedy: str
) -> None:
    """Each kind of mistake in a step has its line, its column and its remedy."""
    found = faults_of(f"routes:\n  a:\n    steps:\n      {step}\n    match: {{}}\n")
    shown = [fault for fault in found if f"{fault.line}:{fault.column}" == place and message in fault.message]
    assert shown, [str(fault) for fault in found]
    assert remedy in shown[0].remedy


ROUTES = {
    "unknown section": ("route: {}\nroutes: {a: {match: {}, steps: [answer]}}", "1:1", "has no `route`", "`routes`"),
    "no routes": ("default: a", "1:1", "the dialplan needs `routes`", "add `routes:`"),
    "empty routes": ("routes: {}", "1:1", "there is no route", "add one"),
    "nothing": ("", "1:1", "no dialplan", "begin with"),
    "a list": ("- a", "1:1", "no dialplan", "begin with"),
    "no steps": ("routes:\n  a: {match: {}, steps: []}", "2:18", "route `a` has no steps", ""),
    "route twice": (
        "routes:\n  a: {match: {}, steps: [answer]}\n  a: {match: {}, steps: [answer]}",
        "3:3", "`a` is there twice", "the first is in line 2",
    ),
    "default nowhere": (
        "default: desc\nroutes: {desk: {match: {}, steps: [answer]}}", "1:10", "no route `desc`", "did you mean `desk`?",
    ),
    "unknown key of a match": (
        "routes: {a: {match: {calld: 1}, steps: [answer]}}", "1:22", "`match` has no `calld`", "did you mean `called`?",
    ),
    "regex that does not compile": (
        "routes: {a: {match: {called: /(1/}, steps: [answer]}}", "1:30", "wants a regular expression that compiles", "",
    ),
    "regex without its end": (
        "routes: {a: {match: {called: /1}, steps: [answer]}}", "1:30", "wants a regular expression between slashes", "",
    ),
    "regex in a list": (
        "routes: {a: {match: {called: [1, '/[/']}, steps: [answer]}}", "1:34", "entry 2 of `called` wants a regular", "",
    ),
    "no such weekday": (
        "routes: {a: {match: {time: mon-frx 9:00-17:00}, steps: [answer]}}", "1:28", "'frx' is no weekday", "",
    ),
    "no such hour": (
        "routes: {a: {match: {time: 9:00-25:00}, steps: [answer]}}", "1:28", "9:00-25:00 is no span of a day", "",
    ),
    "no such date": (
        "routes: {a: {match: {date: 02-30}, steps: [answer]}}", "1:28", "02-30 does not exist", "",
    ),
    "no share": ("routes: {a: {match: {share: 120%}, steps: [answer]}}", "1:29", "wants a share of traffic such as 20%", ""),
    "empty list": ("routes: {a: {match: {called: []}, steps: [answer]}}", "1:30", "would match anything", "name what"),
    "no such door": ("routes: {a: {match: {door: front}, steps: [answer]}}", "1:28", "`door` cannot be `front`", ""),
    "no time zone": (
        "timezone: Mars/Olympus\nroutes: {a: {match: {}, steps: [answer]}}", "1:11", "no time zone `Mars/Olympus`", "UTC",
    ),
    "out of reach": (
        "routes: {a: {match: {}, steps: [answer]}, b: {steps: [answer]}}", "1:43", "no call can reach route `b`", "goto",
    ),
    "behind a catch-all": (
        "routes: {a: {match: {}, steps: [answer]}, b: {match: {called: 1}, steps: [answer]}}",
        "1:43", "route `b` is never reached: `a` (line 1) takes all its calls", "move it above `a`",
    ),
    "behind a wider prefix": (
        "routes:\n  a: {match: {called: 4*}, steps: [answer]}\n  b: {match: {called: [49*, 411]}, steps: [answer]}",
        "3:3", "route `b` is never reached: `a` (line 2)", "",
    ),
    "rounds over two routes": (
        "routes:\n  a: {match: {}, steps: [answer, goto: b]}\n  b: {steps: [set: {x: y}, goto: a]}",
        "2:3", "goes round for ever: a -> b -> a", "",
    ),
    "unused flow": (
        "routes: {a: {match: {}, steps: [answer]}}\nflows:\n  f: {nodes: {end: {finish: x}}}",
        "3:3", "flow `f` is used by no route", "- bot: f",
    ),
    "recording that is never played": (
        "routes: {a: {match: {}, steps: [say: Hello]}}\nprompts: {x.wav: Helo}", "2:18", "nothing says the text", "",
    ),
    "recording that is not there": (
        "routes: {a: {match: {}, steps: [say: Hello]}}\nprompts: {x.wav: Hello}", "2:11", "no file", "",
    ),
    "bot's outcome": (
        "routes: {a: {match: {}, steps: [bot: {flow: f, then: {oops: a}}]}}\nflows: {f: {nodes: {end: {finish: x}}}}",
        "1:55", "flow `f` has no outcome `oops`", "it has: failed, x",
    ),
    "key that is a list": ("? [a]\n: b\nroutes: {a: {match: {}, steps: [answer]}}", "1:3", "a key must be a word", ""),
    "merge of a text": ("routes: {a: {<<: x, match: {}, steps: [answer]}}", "1:18", "`<<` merges mappings only", ""),
}  # fmt: skip


@pytest.mark.parametrize(("text", "place", "message", "remedy"), ROUTES.values(), ids=ROUTES.keys())
def test_a_fault_in_a_route_is_shown_where_it_stands(
    faults_of: FaultsOf, text: str, place: str, message: str, remedy: str
) -> None:
    """The same for routes, their conditions, and what stands beside them."""
    found = faults_of(text)
    shown = [fault for fault in found if f"{fault.line}:{fault.column}" == place and message in fault.message]
    assert shown, [str(fault) for fault in found]
    assert remedy in shown[0].remedy


FLOW = """
routes: {{a: {{match: {{}}, steps: [bot: f]}}}}
flows:
  f:
    slots: {{day: weekday, what: {{choices: {{x: ex, y: why}}}}}}
    nodes:
      {}
"""

NODES = {
    "no kind of node": ("day: {say: Hi}", "6:7", "`day` needs one of `ask`, `confirm`, `finish`", ""),
    "two kinds of node": ("day: {ask: Hi, finish: x}", "6:22", "`day` has `ask` already", "keep one"),
    "no such slot": ("when: {ask: Hi}\n      end: {finish: x}", "6:7", "no slot `when`", "known: day, what"),
    "no such slot by name": (
        "when: {ask: Hi, slot: dya}\n      end: {finish: x}", "6:29", "no slot `dya`", "did you mean `day`?",
    ),
    "branch to no node": ("day: {ask: Hi, next: ende}\n      end: {finish: x}", "6:28", "no node `ende`", "`end`?"),
    "branch to no node by value": (
        "what: {ask: Hi, next: {x: ende}}\n      end: {finish: x}", "6:33", "no node `ende`", "did you mean `end`?",
    ),
    "branch on no value": (
        "what: {ask: Hi, next: {z: end}}\n      end: {finish: x}", "6:30", "`what` never has the value `z`", "known: x, y",
    ),
    "node out of reach": (
        "day: {ask: Hi, next: end}\n      what: {ask: Hi}\n      end: {finish: x}", "7:7", "node `what` is never reached", "",
    ),
    "open end": ("what: {ask: Hi}\n      day: {ask: Hi}", "7:7", "the flow ends at `day` without a `finish`", "add one"),
    "round": (
        "what: {ask: Hi}\n      day: {ask: Hi, next: what}\n      end: {finish: x}", "7:7", "the flow goes round", "",
    ),
    "slot never asked": ("day: {ask: Hi}\n      end: {finish: x}", "4:27", "slot `what` is never asked for", ""),
    "variable nobody sets": ("day: {ask: 'Hi {name}'}\n      end: {finish: x}", "6:18", "nothing sets `{name}`", ""),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "place", "message", "remedy"), NODES.values(), ids=NODES.keys())
def test_a_fault_in_a_flow_is_shown_where_it_stands(
    faults_of: FaultsOf, nodes: str, place: str, message: str, remedy: str
) -> None:
    """A conversation that could not be held to its end is refused before a caller is in it."""
    found = faults_of(FLOW.format(nodes))
    shown = [fault for fault in found if f"{fault.line}:{fault.column}" == place and message in fault.message]
    assert shown, [str(fault) for fault in found]
    assert remedy in shown[0].remedy


SLOTS = {
    "no nodes": ("nodes: {}", "4:5", "flow `f` has no nodes", "add an `ask`"),
    "no choices": ("slots: {s: {named: x}}\n    nodes: {s: {ask: a}, e: {finish: x}}", "4:13", "slot `s` has no choices", ""),
    "choices of its own": (
        "slots: {s: {type: weekday, choices: {a: b}}}\n    nodes: {s: {ask: a}, e: {finish: x}}",
        "4:32", "a slot of type weekday has its own choices", "",
    ),
    "days of a choice": (
        "slots: {s: {days: [monday], choices: {a: b}}}\n    nodes: {s: {ask: a}, e: {finish: x}}",
        "4:17", "`days` belongs to a slot of type weekday", "",
    ),
    "same phrase for two": (
        "slots: {s: {choices: {a: [one, two], b: 'Two!'}}}\n    nodes: {s: {ask: a}, e: {finish: x}}",
        "4:42", "`two` stands for `a` already", "make them differ",
    ),
    "phrase without words": (
        "slots: {s: {choices: {a: '!'}}}\n    nodes: {s: {ask: a}, e: {finish: x}}", "4:27", "has no word in it", "",
    ),
    "tries": ("tries: 0\n    nodes: {e: {finish: x}}", "4:12", "`tries` must be from 1 to 20", ""),
}  # fmt: skip


@pytest.mark.parametrize(("flow", "place", "message", "remedy"), SLOTS.values(), ids=SLOTS.keys())
def test_a_fault_in_a_slot_is_shown_where_it_stands(
    faults_of: FaultsOf, flow: str, place: str, message: str, remedy: str
) -> None:
    """What a caller may say must mean one thing only."""
    found = faults_of(f"routes: {{a: {{match: {{}}, steps: [bot: f]}}}}\nflows:\n  f:\n    {flow}\n")
    shown = [fault for fault in found if f"{fault.line}:{fault.column}" == place and message in fault.message]
    assert shown, [str(fault) for fault in found]
    assert remedy in shown[0].remedy


def test_all_faults_are_shown_at_once_in_the_order_of_the_lines(faults_of: FaultsOf) -> None:
    """Nobody runs the check once for each mistake."""
    found = faults_of("""
        default: desk
        routes:
          a:
            match: {calld: 1}
            steps:
              - anwser
              - say: {tekst: Hi}
              - goto: b
              - wait: soon
    """)
    places = [fault.place.rpartition("plan.yaml:")[2] for fault in found]
    assert places == ["1:10", "4:13", "6:9", "7:9", "7:15", "8:15", "9:15"]


def test_loading_raises_the_first_fault_and_counts_the_others(written: Callable[[str], Path]) -> None:
    """The gateway refuses to start in one line that says where to look."""
    path = written("routes:\n  a:\n    match: {}\n    steps: [anwser, sya: x, goto: b]\n")
    with pytest.raises(ConfigError) as raised:
        dialplan.load(path)
    assert (raised.value.path, raised.value.line, raised.value.column) == (str(path), 4, 13)
    assert "no action `anwser`; did you mean `answer`? (and 2 more faults: gateway check" in str(raised.value)


def test_a_warning_stops_no_gateway(written: Callable[[str], Path]) -> None:
    """A flow that is unused for the moment is no reason to take no calls."""
    path = written("routes: {a: {match: {}, steps: [answer]}}\nflows: {f: {nodes: {e: {finish: x}}}}\n")
    assert [fault.severity for fault in dialplan.check(path)] == ["warning"]
    assert dialplan.load(path).routes == ("a",)


def test_a_recording_must_be_what_the_gateway_can_play(written: Callable[[str], Path], tmp_path: Path) -> None:
    """A stereo file is found out by the check, not by the caller."""
    with wave.open(str(tmp_path / "music.wav"), "wb") as sound:
        sound.setparams((2, 2, 44100, 0, "NONE", ""))
        sound.writeframes(b"\0" * 400)
    (tmp_path / "text.wav").write_text("hush")
    path = written("routes: {a: {match: {}, steps: [play: music.wav, play: text.wav]}}\n")
    stereo, text = dialplan.check(path)
    assert (stereo.line, stereo.column, "2 channels, 16 bit, 44100 Hz" in stereo.message) == (1, 39, True)
    assert "sox music.wav -c 1 -b 16 -r 16000 new.wav" in stereo.remedy
    assert (text.line, text.column, "no readable WAV file: it ends too soon" in text.message) == (1, 56, True)


def test_what_cannot_be_read_is_a_fault_too(tmp_path: Path) -> None:
    """A missing file, an empty folder and bytes that are no text are told apart."""
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    (tmp_path / "empty").mkdir()
    assert "cannot be read: No such file" in dialplan.check(tmp_path / "none.yaml")[0].message
    assert "it is not UTF-8 text" in dialplan.check(tmp_path / "binary.yaml")[0].message
    assert "the folder holds no dialplan" in dialplan.check(tmp_path / "empty")[0].message


def test_a_tree_of_aliases_does_not_eat_the_machine(faults_of: FaultsOf) -> None:
    """Ten lines may unfold to billions of values; they are counted, not built."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    (fault,) = faults_of("\n".join(lines))
    assert "its aliases unfold to" in fault.message


def test_a_folder_is_the_sum_of_its_files(written: Callable[..., Path], tmp_path: Path) -> None:
    """Routes come in the order of the files' names; the same name in two files is a fault at the second."""
    written("default: b\nroutes: {a: {match: {}, steps: [answer]}}", "10-first.yaml")
    second = written("routes:\n  b: {steps: [answer]}\n", "20-second.yml")
    written("not: [read", "notes.txt")
    assert dialplan.load(tmp_path).routes == ("a", "b")
    written("default: a\nroutes:\n  a: {steps: [answer]}\n  b: {steps: [answer]}\n", "20-second.yml")
    found = [fault for fault in dialplan.check(tmp_path) if "is there already" in fault.message]
    assert [fault.place for fault in found] == [f"{second}:1:1", f"{second}:3:3"]


def test_anchors_and_merge_keys_spare_repetition(written: Callable[[str], Path]) -> None:
    """What is written beside `<<` wins over what is merged in."""
    plan = dialplan.load(
        written("""
        routes:
          a: &base
            match: {called: a}
            steps: &steps [answer, echo]
          b:
            <<: *base
            match: {called: b}
    """)
    )
    assert [step.position for step in plan.plan("b").steps] == ["b/0:answer", "b/1:echo"]
    assert plan.document.routes["b"].match != plan.document.routes["a"].match


def test_words_that_yaml_takes_for_something_else_stay_words(written: Callable[[str], Path]) -> None:
    """`off` is no boolean, `0049` no octal number and `no` a thing that callers say."""
    plan = dialplan.load(
        written("""
        routes:
          a:
            match: {called: [0049, 9:30, no]}
            steps:
              - say: {text: 12, barge_in: off}
    """)
    )
    route = plan.document.routes["a"]
    assert route.match is not None
    assert route.match.called == ("0049", "9:30", "no")
    assert (route.steps[0].options.text, route.steps[0].options.barge_in) == ("12", "off")


def test_a_fact_nobody_finds_out_is_a_warning(faults_of: FaultsOf) -> None:
    """Misspelt most likely; but an extension of somebody's may bring it, so the dialplan loads."""
    match, text = faults_of(
        """
        routes:
          a:
            match: {facts: {divertd-from: 49*, account: desk}}
            steps: [{say: "From {fact.acount} by {fact.trunk}."}]
        """
    )
    assert (match.place.split(":")[-2:], match.severity) == (["3", "21"], "warning")
    assert "did you mean `diverted-from`?" in match.remedy
    assert (text.severity, text.remedy) == ("warning", "did you mean `account`?")


@pytest.mark.parametrize(("answer", "warned"), [("", True), (", digits: 3", False), (", phrases: [sales]", False)])
def test_a_caller_who_could_dial_anywhere_is_a_warning(faults_of: FaultsOf, answer: str, warned: bool) -> None:
    """An open question's answer may be any address; what is limited to keys or phrases may not."""
    gather = f"      - gather: {{say: Whom?, into: whom{answer}}}"
    gather = gather.replace("Whom?", "'Whom?'")
    found = faults_of(f"""\
routes:
  a:
    match: {{}}
    steps:
      - answer
{gather}
      - transfer: '{{whom}}'
""")
    assert [(fault.severity, fault.line) for fault in found] == ([("warning", 7)] if warned else [])
    assert not warned or "`whom`" in found[0].message
