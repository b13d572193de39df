import numpy as np
import pytest

from gateway.media import g711

ALL = np.arange(-32768, 32768).astype(np.int16)


def g191_ulaw(sample: int) -> int:
    """ITU-T G.191's rule, a sample at a time: one's complement magnitude, bias 33 at 14 bits, bits inverted."""
    magnitude = min(((~sample if sample < 0 else sample) >> 2) + 33, 0x1FFF)
    segment, rest = 1, magnitude >> 6
    while rest:
        segment, rest = segment + 1, rest >> 1
    code = (8 - segment) << 4 | 0x0F - (magnitude >> segment & 0x0F)
    return code if sample < 0 else code | 0x80


def g191_alaw(sample: int) -> int:
    code = (~sample if sample < 0 else sample) >> 4
    if code > 15:
        exponent = 1
        while code > 31:
            code, exponent = code >> 1, exponent + 1
        code += (exponent << 4) - 16
    return (code if sample < 0 else code | 0x80) ^ 0x55


def test_both_laws_code_all_samples_as_g191_does() -> None:
    """G.711 is exact or it is wrong: all 65,536 inputs, both laws."""
    for law, rule in ((0, g191_ulaw), (1, g191_alaw)):
        assert g711.encode(ALL, law).tolist() == [rule(s) for s in ALL.tolist()]


@pytest.mark.parametrize(
    ("law", "code", "sample"),
    [
        (0, 0xFF, 0),
        (0, 0x7F, 0),
        (0, 0x80, 32124),
        (0, 0x00, -32124),
        (0, 0xFE, 8),
        (0, 0x8F, 16764),
        (1, 0xD5, 8),
        (1, 0x55, -8),
        (1, 0xAA, 32256),
        (1, 0x2A, -32256),
        (1, 0xC5, 264),
    ],
)
def test_decoding_gives_the_standards_values(law: int, code: int, sample: int) -> None:
    """The ends and the middle of each law's range, from G.711's tables in 16-bit steps."""
    assert g711.decode(np.array([code], np.uint8), law).tolist() == [sample]


def test_coding_what_was_decoded_changes_nothing() -> None:
    """Every code comes back as itself, but for mu-law's negative zero, which is zero."""
    codes = np.arange(256, dtype=np.uint8)
    assert g711.encode(g711.decode(codes, 1), 1).tolist() == codes.tolist()
    again = g711.encode(g711.decode(codes, 0), 0).tolist()
    assert again == [0xFF if code == 0x7F else code for code in range(256)]


def test_a_batch_may_mix_the_laws() -> None:
    """Rows of both laws in one call give what each would alone."""
    both = np.stack([ALL[::411], ALL[::411]])
    laws = np.array([0, 1])
    coded = g711.encode(both, laws)
    assert coded[0].tolist() == g711.encode(both[0], 0).tolist()
    assert coded[1].tolist() == g711.encode(both[1], 1).tolist()
    assert g711.decode(coded, laws)[1].tolist() == g711.decode(coded[1], 1).tolist()
