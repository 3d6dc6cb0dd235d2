"""The convolution as loops in float64 NumPy, written from the definition and sharing no code with jds."""

import itertools

import numpy as np


def pads(word, size, kernel, stride, dilation):
    """The padding of one axis, and how it is filled."""
    reach = (kernel - 1) * dilation + 1
    if word in ("CIRCULAR", "REFLECT"):
        return ((reach - 1) // 2, reach // 2), {"CIRCULAR": "wrap", "REFLECT": "reflect"}[word]
    if word == "CAUSAL":
        return (reach - 1, 0), "constant"
    if word == "VALID":
        return (0, 0), "constant"
    needed = max((int(np.ceil(size / stride)) - 1) * stride + reach - size, 0)
    smaller, larger = needed // 2, needed - needed // 2
    return ((smaller, larger) if word == "SAME" else (larger, smaller)), "constant"


def conv(inputs, kernel, *, strides, padding, kernel_dilation, groups=1, input_dilation=None, cotangent=None):
    """Convolves `(batch, *spatial, in)` by `(*size, in // groups, out)`; with a cotangent, both gradients instead."""
    x, w = np.asarray(inputs, np.float64), np.asarray(kernel, np.float64)
    rank = w.ndim - 2
    spatial, size = x.shape[1:-1], w.shape[:-2]
    input_dilation = input_dilation or (1,) * rank
    if isinstance(padding, str):
        rules = [pads(padding, *arguments) for arguments in zip(spatial, size, strides, kernel_dilation, strict=True)]
        padding, mode = [pair for pair, _ in rules], rules[0][1]
    else:
        mode = "constant"
    # The source of each padded, dilated position: -1 for a zero.
    sources = []
    for n, (low, high), spread in zip(spatial, padding, input_dilation, strict=True):
        line = np.full((n - 1) * spread + 1, -1)
        line[::spread] = np.arange(n)
        line = np.pad(
            line, (max(low, 0), max(high, 0)), **({"constant_values": -1} if mode == "constant" else {"mode": mode})
        )
        sources.append(line[max(-low, 0) : len(line) - max(-high, 0)])
    out_size = [
        (len(line) - (k - 1) * d - 1) // s + 1
        for line, k, d, s in zip(sources, size, kernel_dilation, strides, strict=True)
    ]
    batch, per_group = x.shape[0], w.shape[-1] // groups
    x = x.reshape(batch, *spatial, groups, w.shape[-2])
    w = w.reshape(*size, w.shape[-2], groups, per_group)
    y = np.zeros((batch, *out_size, groups, per_group))
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    dy = None if cotangent is None else np.asarray(cotangent, np.float64).reshape(y.shape)
    for p in itertools.product(*map(range, out_size)):
        for k in itertools.product(*map(range, size)):
            source = tuple(
                line[a * s + b * d] for line, a, b, s, d in zip(sources, p, k, strides, kernel_dilation, strict=True)
            )
            if min(source) < 0:
                continue
            at_x, at_y = (slice(None), *source), (slice(None), *p)
            y[at_y] += np.einsum("bgi,igm->bgm", x[at_x], w[k])
            if dy is not None:
                dx[at_x] += np.einsum("bgm,igm->bgi", dy[at_y], w[k])
                dw[k] += np.einsum("bgi,bgm->igm", x[at_x], dy[at_y])
    if dy is not None:
        return dx.reshape(inputs.shape), dw.reshape(kernel.shape)
    return y.reshape(batch, *out_size, groups * per_group)
