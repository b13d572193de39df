"""A folder of bundles as a test suite: each bundle is one test, and its failure text is the difference.

pytest -p gateway.replay.pytest_plugin bundles/
pytest -p gateway.replay.pytest_plugin bundles/ --update-bundles     accept what happens now
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.replay import layout


class Differs(Exception):
    """The replay is not the call that was recorded; the text says how."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-bundles", action="store_true", help="accept what replayed bundles do now")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> BundleFile | None:
    is_bundle = file_path.name == layout.META and (file_path.parent / layout.EVENTS).exists()
    return BundleFile.from_parent(parent, path=file_path) if is_bundle else None


class BundleFile(pytest.File):
    def collect(self) -> Iterator[BundleItem]:
        yield BundleItem.from_parent(self, name=self.path.parent.name)


class BundleItem(pytest.Item):
    """Replays the bundle and compares."""

    def runtest(self) -> None:
        # Not before it is needed: the plugin may be loaded in runs that replay nothing.
        from gateway.replay.cli import against, update
        from gateway.replay.reading import read_bundle
        from gateway.replay.run import ReplayOptions, replay_bundle

        folder = self.path.parent
        recorded = read_bundle(folder)
        if self.config.getoption("--update-bundles"):
            update(folder, recorded, ReplayOptions(answers="recorded-then-live"))
            return
        difference = against(recorded, replay_bundle(recorded))
        if not difference.same:
            raise Differs(difference.render())

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        if isinstance(excinfo.value, Differs):
            accept = f"pytest {self.path.parent} --update-bundles"
            return f"{self.name} is another call now:\n\n{excinfo.value}\n\nIf it should be, accept it: {accept}"
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path.parent, None, f"bundle {self.name}"
