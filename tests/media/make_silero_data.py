"""Makes gateway/media/data/silero_vad_8k.npz and the fixture of tests/media/test_media_vad.py. Run by hand, once.

    pip download silero-vad==6.2.3 --no-deps && unzip silero_vad-*.whl -d silero
    pip install --target onnxlib onnx
    PYTHONPATH=onnxlib python tests/media/make_silero_data.py silero/silero_vad/data/silero_vad.onnx SPEECH.wav

Needs `onnx` (only here) and `onnxruntime` (the oracle). The weights are those of the graph's 8 kHz branch, laid out
as `gateway/media/vad.py` multiplies them. SPEECH.wav is 8 kHz mono; the fixture keeps it with the probabilities
onnxruntime gives for it. `silero_vad_op18_ifless.onnx` will not do: its 8 kHz weights differ.
"""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
WEIGHTS = HERE.parents[1] / "gateway" / "media" / "data" / "silero_vad_8k.npz"
FIXTURE = HERE / "silero_expected.npz"
WINDOW, CONTEXT = 256, 32


def eight_khz_constants(path: str) -> dict[str, np.ndarray]:
    import onnx

    branch = next(node for node in onnx.load(path).graph.node if node.op_type == "If")
    graph = next(attribute.g for attribute in branch.attribute if attribute.name == "else_branch")
    constants = (node for node in graph.node if node.op_type == "Constant")
    return {n.output[0].split("Inline_0__")[-1]: onnx.numpy_helper.to_array(n.attribute[0].t) for n in constants}


def taps(kernel: np.ndarray, first: int, last: int) -> np.ndarray:
    """(out, in, 3) to a matrix for `last - first` neighbouring frames laid end to end."""
    return np.concatenate([kernel[:, :, k].T for k in range(first, last)])


def gates(matrix: np.ndarray) -> np.ndarray:
    """PyTorch's order input, forget, cell, output to input, forget, output, cell: the sigmoids side by side."""
    i, f, g, o = np.split(matrix, 4)
    return np.concatenate([i, f, o, g])


def weights(c: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    conv = [c[f"encoder.{k}.reparam_conv.weight"] for k in range(4)]
    return {
        "spectrum": c["stft.forward_basis_buffer"][:, 0, :].T,
        # One window is 4 frames, then 4, 2, 1 and 1: the third and fourth layers never see the taps left out.
        "conv0": taps(conv[0], 0, 3),
        "conv1": taps(conv[1], 0, 3),
        "conv2": taps(conv[2], 1, 3),
        "conv3": taps(conv[3], 1, 2),
        **{f"bias{k}": c[f"encoder.{k}.reparam_conv.bias"] for k in range(4)},
        "lstm": np.concatenate([gates(c["decoder.rnn.weight_ih"]).T, gates(c["decoder.rnn.weight_hh"]).T]),
        "lstm_bias": gates(c["decoder.rnn.bias_ih"] + c["decoder.rnn.bias_hh"]),
        "out": c["decoder.decoder.2.weight"][0, :, 0],
        "out_bias": c["decoder.decoder.2.bias"],
    }


def expected(path: str, audio: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    state, context, found = np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT), np.float32), []
    for start in range(0, len(audio) - WINDOW + 1, WINDOW):
        window = np.concatenate([context, audio[None, start : start + WINDOW]], axis=1)
        p, state = session.run(None, {"input": window, "state": state, "sr": np.array(8000)})
        context = window[:, -CONTEXT:]
        found.append(p[0, 0])
    return np.array(found, np.float32)


def main(model: str, speech: str) -> None:
    WEIGHTS.parent.mkdir(exist_ok=True)
    np.savez_compressed(WEIGHTS, **{k: np.ascontiguousarray(v) for k, v in weights(eight_khz_constants(model)).items()})
    with wave.open(speech) as file:
        assert file.getframerate() == 8000
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    np.savez_compressed(FIXTURE, pcm=pcm, probabilities=expected(model, pcm.astype(np.float32) / 32768))


if __name__ == "__main__":
    main(*sys.argv[1:])
