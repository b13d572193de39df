import numpy as np

from gateway.media.resample import _PHASES, DELAY_S, TAPS, double_rate

SPEECH_BAND = np.arange(300, 3401, 50)


def doubled(pcm: np.ndarray) -> np.ndarray:
    return double_rate(np.concatenate([np.zeros(TAPS - 1, np.int16), pcm])[None])[0]


def response_db(hz: float) -> float:
    """Level of a tone at the output against the input, by projection over whole periods."""
    pcm = np.rint(20000 * np.sin(2 * np.pi * hz * np.arange(8000) / 8000)).astype(np.int16)
    out = doubled(pcm)[4000:12000].astype(float)
    turns = np.exp(-2j * np.pi * hz * np.arange(4000, 12000) / 16000)
    return float(20 * np.log10(2 * abs((out * turns).mean()) / 20000))


def test_the_speech_band_is_flat() -> None:
    """Ripple at most 0.01 dB from 300 to 3400 Hz: a recogniser hears what the line carried."""
    levels = [response_db(hz) for hz in SPEECH_BAND]
    assert max(levels) - min(levels) <= 0.01
    assert max(map(abs, levels)) <= 0.01


def test_the_rest_is_79_db_below() -> None:
    """Images, and the rounding to 16 bits, are at least 79 dB below a tone anywhere in the speech band."""
    for hz in SPEECH_BAND:
        out = doubled(np.rint(30000 * np.sin(2 * np.pi * hz * np.arange(8000) / 8000)).astype(np.int16))
        n = np.arange(4000, 12000)
        basis = np.stack([np.sin(2 * np.pi * hz * n / 16000), np.cos(2 * np.pi * hz * n / 16000)], axis=1)
        wanted = basis @ np.linalg.lstsq(basis, out[4000:12000].astype(float), rcond=None)[0]
        rest = out[4000:12000] - wanted
        assert 10 * np.log10((wanted**2).sum() / (rest**2).sum()) >= 79


def test_the_delay_is_as_documented_and_below_3_ms() -> None:
    """Recognition latency is not spent on filters: an impulse appears DELAY_S later."""
    pcm = np.zeros(200, np.int16)
    pcm[100] = 20000
    assert DELAY_S <= 0.003
    assert abs(int(np.argmax(doubled(pcm))) / 16000 - 100 / 8000 - DELAY_S) < 1 / 16000


def test_pieces_joined_equal_the_whole() -> None:
    """Cutting the audio into pieces leaves no seam, as each brings its filter's past along."""
    pcm = np.random.default_rng(1).integers(-9000, 9000, 2000).astype(np.int16)
    past = np.concatenate([np.zeros(TAPS - 1, np.int16), pcm])
    pieces = [double_rate(past[None, k : k + 500 + TAPS - 1])[0] for k in range(0, 2000, 500)]
    assert np.array_equal(np.concatenate(pieces), doubled(pcm))


def test_a_sample_is_the_same_whatever_is_computed_with_it() -> None:
    """In exact numbers: processors sum in orders of their own, and no sum here is rounded."""
    pcm = np.random.default_rng(2).integers(-32768, 32768, (100, 800 + TAPS - 1)).astype(np.int16)
    whole = (_PHASES * 2**24).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(pcm.astype(np.int64), TAPS, axis=1)
    exact = np.rint((windows @ whole).reshape(100, -1) / 2**24)
    assert np.array_equal(double_rate(pcm), np.clip(exact, -32768, 32767))
    assert np.array_equal(np.concatenate([double_rate(row[None]) for row in pcm]), double_rate(pcm))


def test_loud_audio_clips_instead_of_wrapping() -> None:
    """A square wave at full scale overshoots; it must not turn over."""
    pcm = np.where(np.arange(800) // 40 % 2, 32767, -32768).astype(np.int16)
    out = doubled(pcm).astype(int)
    assert np.abs(np.diff(out)).max() < 50000
