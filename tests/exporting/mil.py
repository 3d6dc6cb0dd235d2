"""Evaluates a Core ML package in NumPy and JAX, by the documented meaning of its operations.

This is no Core ML: it shows that the package says the right thing, not that Apple's runtime does what it says.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jds.exporting.coreml._packages import packages, silent


def load(path):
    """The program in a package, and the description of its inputs and outputs."""
    with silent():
        from coremltools.converters.mil.frontend.milproto.load import load as from_proto

        model = packages().coremltools.models.MLModel(str(path), skip_model_load=True)
        spec = model.get_spec()
        program = from_proto(spec, spec.specificationVersion, file_weights_dir=model.weights_dir)
    return model, program.functions["main"]


def run(path, inputs):
    """The results of a package, by name."""
    _, function = load(path)
    operations = [op for op in function.operations if op.op_type not in ("const", "classify")]
    classifier = next((op for op in function.operations if op.op_type == "classify"), None)
    wanted = function.outputs if classifier is None else [classifier.probabilities]

    @jax.jit
    def compute(given):
        values = {function.inputs[name]: array for name, array in given.items()}

        def value(var):
            return list(map(value, var)) if isinstance(var, list | tuple) else values.get(var, var.val)

        for op in operations:
            results = OPERATIONS[op.op_type](**{name: value(var) for name, var in op.inputs.items() if var is not None})
            results = results if isinstance(results, list | tuple) else [results]
            assert [result.shape for result in results] == [tuple(var.shape) for var in op.outputs], op
            # Parameters of activations may be float32 where arrays are float16.
            results = [
                result.astype(DTYPES[var.dtype.__name__]) for result, var in zip(results, op.outputs, strict=True)
            ]
            values |= dict(zip(op.outputs, results, strict=True))
        return [value(var) for var in wanted]

    results = list(map(np.asarray, compute(inputs)))
    names = [var.name for var in function.outputs]
    return dict(zip(names, results if classifier is None else classify(*results, classifier.classes.val), strict=True))


def conv(x, weight, strides=(1, 1), pad_type="valid", pad=(0, 0, 0, 0), dilations=(1, 1), groups=1, bias=None):
    assert pad_type in ("valid", "custom")
    padding = np.asarray(pad).reshape(-1, 2).tolist() if pad_type == "custom" else "VALID"
    y = lax.conv_general_dilated(
        x, weight, tuple(strides), padding, rhs_dilation=tuple(dilations), feature_group_count=int(groups),
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )  # fmt: skip
    return y if bias is None else y + bias[:, None, None]


def windows(x, kernel_sizes, strides, pad_type, pad):
    sides = {"valid": [(0, 0)] * 2, "custom": np.asarray(pad).reshape(-1, 2).tolist()}[pad_type]
    return (1, 1, *kernel_sizes), (1, 1, *strides), [(0, 0), (0, 0), *sides]


def max_pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode=False):
    assert not ceil_mode
    return lax.reduce_window(x, -jnp.inf, lax.max, *windows(x, kernel_sizes, strides, pad_type, pad))


def avg_pool(x, kernel_sizes, strides, pad_type, pad, exclude_padding_from_average, ceil_mode=False):
    assert not ceil_mode
    assert not exclude_padding_from_average
    return lax.reduce_window(x, 0.0, lax.add, *windows(x, kernel_sizes, strides, pad_type, pad)) / np.prod(kernel_sizes)


def layer_norm(x, axes, epsilon, gamma=None, beta=None):
    axes = tuple(map(int, axes))
    shape = [size if axis in axes or axis - x.ndim in axes else 1 for axis, size in enumerate(x.shape)]
    mean = x.mean(axes, keepdims=True)
    y = (x - mean) / jnp.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + epsilon)
    y = y if gamma is None else y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


def batch_norm(x, mean, variance, gamma, beta, epsilon):
    return (x - mean[:, None, None]) * (gamma / np.sqrt(variance + epsilon))[:, None, None] + beta[:, None, None]


def matmul(x, y, transpose_x=False, transpose_y=False):
    return (x.swapaxes(-1, -2) if transpose_x else x) @ (y.swapaxes(-1, -2) if transpose_y else y)


def attention(query, key, value, attn_mask=None):
    assert attn_mask is None
    return jax.nn.softmax(query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])) @ value


def gelu(x, mode):
    assert mode in ("EXACT", "TANH_APPROXIMATION")
    return jax.nn.gelu(x, approximate=mode == "TANH_APPROXIMATION")


def slice_by_index(x, begin, end, stride=None, begin_mask=None, end_mask=None, squeeze_mask=None):
    masks = [np.zeros(x.ndim, bool) if mask is None else mask for mask in (begin_mask, end_mask, squeeze_mask)]
    steps = np.ones(x.ndim, int) if stride is None else stride
    index = [
        int(low) if squeezed else slice(None if from_start else low, None if to_end else high, step)
        for low, high, step, from_start, to_end, squeezed in zip(begin, end, steps, *masks, strict=True)
    ]
    return x[tuple(index)]


def split(x, axis, split_sizes=None, num_splits=None):
    return jnp.split(x, num_splits if split_sizes is None else np.cumsum(split_sizes)[:-1], axis)


def classify(probabilities, classes):
    (shares,) = probabilities
    return classes[int(shares.argmax())], dict(zip(classes, shares.tolist(), strict=True))


def reduction(fun):
    return lambda x, axes=None, keep_dims=False: fun(x, None if axes is None else tuple(axes), keepdims=bool(keep_dims))


DTYPES = {"fp32": "float32", "fp16": "float16", "int": "int32", "int32": "int32", "bool": "bool"}
OPERATIONS = {
    "add": lambda x, y: x + y,
    "avg_pool": avg_pool,
    "batch_norm": batch_norm,
    "cast": lambda x, dtype: x.astype(DTYPES.get(dtype, dtype)),
    "clip": lambda x, alpha, beta: jnp.clip(x, alpha, beta),
    "concat": lambda values, axis, interleave=False: jnp.concatenate(values, axis),
    "conv": conv,
    "expand_dims": lambda x, axes: jnp.expand_dims(x, tuple(axes)),
    "gelu": gelu,
    "identity": lambda x: x,
    "layer_norm": layer_norm,
    "linear": lambda x, weight, bias=0: x @ weight.T + bias,
    "matmul": matmul,
    "max_pool": max_pool,
    "maximum": lambda x, y: jnp.maximum(x, y),
    "minimum": lambda x, y: jnp.minimum(x, y),
    "mul": lambda x, y: x * y,
    "real_div": lambda x, y: x / y,
    "reduce_log_sum_exp": reduction(jax.nn.logsumexp),
    "reduce_max": reduction(jnp.max),
    "reduce_mean": reduction(jnp.mean),
    "reduce_min": reduction(jnp.min),
    "reduce_sum": reduction(jnp.sum),
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "reshape": lambda x, shape: x.reshape(tuple(map(int, shape))),
    "rsqrt": lambda x, epsilon=0: lax.rsqrt(x + epsilon),
    "scaled_dot_product_attention": attention,
    "sigmoid": jax.nn.sigmoid,
    "sigmoid_hard": lambda x, alpha, beta: jnp.clip(alpha * x + beta, 0, 1),
    "silu": jax.nn.silu,
    "slice_by_index": slice_by_index,
    "softmax": jax.nn.softmax,
    "softplus": jax.nn.softplus,
    "split": split,
    "sqrt": lambda x: jnp.sqrt(x),
    "square": lambda x: x * x,
    "squeeze": lambda x, axes: jnp.squeeze(x, tuple(axes)),
    "sub": lambda x, y: x - y,
    "tanh": lambda x: jnp.tanh(x),
    "transpose": lambda x, perm: x.transpose(tuple(perm)),
}
