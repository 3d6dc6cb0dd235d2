"""Latencies of networks on devices, as others measured and published them."""

from typing import NamedTuple

# A network of `jds.zoo`, its width multiplier (None: its own) and its image size.
_Build = tuple[str, float | None, int]


class Latency(NamedTuple):
    """The time that a network took on a device.

    Attributes:
      device: a key of `jds.cost.DEVICES`. One that ends in `_core` was measured with one thread on a large core.
      network: the network; the name is that of TensorFlow's models.
      macs: multiply-adds of one image, as counted by `jds.cost`; as published if `build` is None.
      parameters: number of parameters, likewise.
      traffic: bytes of the parameters, the image and the results in `dtype`.
      dtype: arithmetic: `float32`, `float16` or `int8`.
      seconds: time for one image.
      source: where the time is from.
      build: a network of `jds.list_models()` with the same layers, its width multiplier (None: its own) and image size.
      millions: millions of multiply-adds as TensorFlow prints them, if it does.

    Example:
      >>> from jds.cost.devices._published import MEASURED
      >>> latency = next(row for row in MEASURED if row.network == "mobilenet_v2_0.35_96")
      >>> latency.device, latency.seconds, latency.build
      ('snapdragon_821_core', 0.0045, ('mobilenetv2_100', 0.35, 96))
    """

    device: str
    network: str
    macs: int
    parameters: int
    traffic: int
    dtype: str
    seconds: float
    source: str
    build: _Build | None = None
    millions: int | None = None


class _Network(NamedTuple):
    build: _Build | None
    macs: int
    parameters: int
    image_size: int
    millions: int | None = None


_GITHUB = "https://github.com"
_TENSORFLOW = f"{_GITHUB}/tensorflow/tensorflow/blob"
# "Measured on large core", with TensorFlow Lite on Pixel 1 to 4.
_SLIM = (
    f"{_GITHUB}/tensorflow/models/blob/60c28f91c1a69098fa8d69e4430705981fc4e132/research/slim/nets/mobilenet/README.md"
)
# Pixel 4, 4 threads.
_LITE = f"{_GITHUB}/tensorflow/tpu/blob/master/models/official/efficientnet/lite/README.md"
# Pixel 3, 4 threads.
_HOSTED = f"{_TENSORFLOW}/0406598a59a78fd428b74fdd5e1ee704d17ce05a/tensorflow/lite/g3doc/guide/hosted_models.md"
# Pixel 4, 4 threads on large cores; its figures for Pixel 3 are those of `_HOSTED`.
_TFLITE = f"{_TENSORFLOW}/00f0938ae85c7dd68b44b4d80a873f42b1dca16a/tensorflow/lite/g3doc/performance/benchmarks.md"
# Pixel and Pixel 2, one thread or as many as there are large cores; Raspberry Pi 4, with several threads.
_XNNPACK = f"{_GITHUB}/google/XNNPACK/blob/0085ae3628ee7dc042342df5a4e98ebdb55a806c/README.md"
# 1 or 4 threads; averages. Its MobileNet V2 and V3 have other layers than ours, and four threads on Raspberry Pi 5 took
# from 9 to 73 ms for V1: these are left out. Cores with arithmetic in float16 use it.
_NCNN = f"{_GITHUB}/Tencent/ncnn/blob/master/benchmark/README.md"
# Dev Board.
_CORAL = f"{_GITHUB}/google-coral/edgetpu/blob/master/benchmarks/reference/basic_engine_reference_aarch64.csv"
# STM32H747I-DISCO, Cortex-M7 at 400 MHz.
_STM32 = f"{_GITHUB}/STMicroelectronics/stm32ai-modelzoo/blob/6f10965e6a40e2a28abd9c181f43cac4de4111c5"
_STM32_V1 = f"{_STM32}/image_classification/mobilenetv1/README.md"
_STM32_V2 = f"{_STM32}/image_classification/mobilenetv2/README.md"

_CLASSES = 1000
_BYTES = {"float32": 4, "float16": 2, "int8": 1}

# TensorFlow prints 66 and 65 for V3-Small and its minimalistic form, as the paper's first version did; the checkpoints
# have 56.5 and 52.3. For EfficientNet-Lite, it prints some 5 percent more than there are multiply-adds.
_NETWORKS: dict[str, _Network] = {
    "mobilenet_v1_0.25_128": _Network(("mobilenetv1_100", 0.25, 128), 13_570_048, 470_072, 128, None),
    "mobilenet_v1_0.25_160": _Network(("mobilenetv1_100", 0.25, 160), 21_059_200, 470_072, 160, None),
    "mobilenet_v1_0.25_192": _Network(("mobilenetv1_100", 0.25, 192), 30_212_608, 470_072, 192, None),
    "mobilenet_v1_0.25_224": _Network(("mobilenetv1_100", 0.25, 224), 41_030_272, 470_072, 224, None),
    "mobilenet_v1_0.50_128": _Network(("mobilenetv1_100", 0.5, 128), 49_160_192, 1_331_592, 128, None),
    "mobilenet_v1_0.50_160": _Network(("mobilenetv1_100", 0.5, 160), 76_524_800, 1_331_592, 160, None),
    "mobilenet_v1_0.50_192": _Network(("mobilenetv1_100", 0.5, 192), 109_970_432, 1_331_592, 192, None),
    "mobilenet_v1_0.50_224": _Network(("mobilenetv1_100", 0.5, 224), 149_497_088, 1_331_592, 224, None),
    "mobilenet_v1_0.75_128": _Network(("mobilenetv1_100", 0.75, 128), 106_770_432, 2_585_560, 128, None),
    "mobilenet_v1_0.75_160": _Network(("mobilenetv1_100", 0.75, 160), 166_396_800, 2_585_560, 160, None),
    "mobilenet_v1_0.75_192": _Network(("mobilenetv1_100", 0.75, 192), 239_273_472, 2_585_560, 192, None),
    "mobilenet_v1_0.75_224": _Network(("mobilenetv1_100", 0.75, 224), 325_400_448, 2_585_560, 224, None),
    "mobilenet_v1_1.0_128": _Network(("mobilenetv1_100", 1.0, 128), 186_400_768, 4_231_976, 128, None),
    "mobilenet_v1_1.0_160": _Network(("mobilenetv1_100", 1.0, 160), 290_675_200, 4_231_976, 160, None),
    "mobilenet_v1_1.0_192": _Network(("mobilenetv1_100", 1.0, 192), 418_121_728, 4_231_976, 192, None),
    "mobilenet_v1_1.0_224": _Network(("mobilenetv1_100", 1.0, 224), 568_740_352, 4_231_976, 224, None),
    "mobilenet_v2_1.4_224": _Network(("mobilenetv2_100", 1.4, 224), 582_195_824, 6_108_776, 224, 582),
    "mobilenet_v2_1.3_224": _Network(("mobilenetv2_100", 1.3, 224), 509_374_560, 5_386_792, 224, 509),
    "mobilenet_v2_1.0_224": _Network(("mobilenetv2_100", 1.0, 224), 300_774_272, 3_504_872, 224, 300),
    "mobilenet_v2_1.0_192": _Network(("mobilenetv2_100", 1.0, 192), 221_316_608, 3_504_872, 192, 221),
    "mobilenet_v2_1.0_160": _Network(("mobilenetv2_100", 1.0, 160), 154_083_200, 3_504_872, 160, 154),
    "mobilenet_v2_1.0_128": _Network(("mobilenetv2_100", 1.0, 128), 99_074_048, 3_504_872, 128, 99),
    "mobilenet_v2_1.0_96": _Network(("mobilenetv2_100", 1.0, 96), 56_289_152, 3_504_872, 96, 56),
    "mobilenet_v2_0.75_224": _Network(("mobilenetv2_100", 0.75, 224), 209_069_792, 2_636_424, 224, 209),
    "mobilenet_v2_0.75_192": _Network(("mobilenetv2_100", 0.75, 192), 153_941_888, 2_636_424, 192, 153),
    "mobilenet_v2_0.75_160": _Network(("mobilenetv2_100", 0.75, 160), 107_295_200, 2_636_424, 160, 107),
    "mobilenet_v2_0.75_128": _Network(("mobilenetv2_100", 0.75, 128), 69_129_728, 2_636_424, 128, 69),
    "mobilenet_v2_0.75_96": _Network(("mobilenetv2_100", 0.75, 96), 39_445_472, 2_636_424, 96, 39),
    "mobilenet_v2_0.5_224": _Network(("mobilenetv2_100", 0.5, 224), 97_131_840, 1_968_680, 224, 97),
    "mobilenet_v2_0.5_192": _Network(("mobilenetv2_100", 0.5, 192), 71_701_760, 1_968_680, 192, 71),
    "mobilenet_v2_0.5_160": _Network(("mobilenetv2_100", 0.5, 160), 50_184_000, 1_968_680, 160, 50),
    "mobilenet_v2_0.5_128": _Network(("mobilenetv2_100", 0.5, 128), 32_578_560, 1_968_680, 128, 32),
    "mobilenet_v2_0.5_96": _Network(("mobilenetv2_100", 0.5, 96), 18_885_440, 1_968_680, 96, 18),
    "mobilenet_v2_0.35_224": _Network(("mobilenetv2_100", 0.35, 224), 59_285_808, 1_677_128, 224, 59),
    "mobilenet_v2_0.35_192": _Network(("mobilenetv2_100", 0.35, 192), 43_896_512, 1_677_128, 192, 43),
    "mobilenet_v2_0.35_160": _Network(("mobilenetv2_100", 0.35, 160), 30_874_800, 1_677_128, 160, 30),
    "mobilenet_v2_0.35_128": _Network(("mobilenetv2_100", 0.35, 128), 20_220_672, 1_677_128, 128, 20),
    "mobilenet_v2_0.35_96": _Network(("mobilenetv2_100", 0.35, 96), 11_934_128, 1_677_128, 96, 11),
    "v3-large_224_1.0": _Network(("tf_mobilenetv3_large_100", None, 224), 216_589_760, 5_483_032, 224, 217),
    "v3-large_224_0.75": _Network(("tf_mobilenetv3_large_075", None, 224), 154_560_624, 3_993_528, 224, 155),
    "v3-small_224_1.0": _Network(("tf_mobilenetv3_small_100", None, 224), 56_510_400, 2_542_856, 224, 66),
    "v3-small_224_0.75": _Network(("tf_mobilenetv3_small_075", None, 224), 43_399_344, 2_041_872, 224, 44),
    "v3-large-minimalistic_224_1.0": _Network(
        ("tf_mobilenetv3_large_minimal_100", None, 224), 209_136_704, 3_924_288, 224, 209
    ),
    "v3-small-minimalistic_224_1.0": _Network(
        ("tf_mobilenetv3_small_minimal_100", None, 224), 52_288_448, 2_044_736, 224, 65
    ),
    "mobilenet_edgetpu_224_0.75": _Network(None, 624_000_000, 2_900_000, 224, 624),
    "mobilenet_edgetpu_224_1.0": _Network(None, 990_000_000, 4_000_000, 224, 990),
    "efficientnet-lite0": _Network(("tf_efficientnet_lite0", None, 224), 385_187_552, 4_652_008, 224, 407),
    "efficientnet-lite1": _Network(("tf_efficientnet_lite1", None, 240), 600_185_232, 5_416_680, 240, 631),
    "efficientnet-lite2": _Network(("tf_efficientnet_lite2", None, 260), 859_736_272, 6_092_072, 260, 899),
    "efficientnet-lite3": _Network(("tf_efficientnet_lite3", None, 280), 1_383_321_872, 8_197_096, 280, 1440),
    "efficientnet-lite4": _Network(("tf_efficientnet_lite4", None, 300), 2_553_034_336, 13_006_568, 300, 2640),
    "efficientnet_b0": _Network(("efficientnet_b0", None, 224), 385_814_752, 5_288_548, 224, None),
    "mnasnet_0.50_224": _Network(("mnasnet_050", None, 224), 104_455_968, 2_218_512, 224, None),
    "mnasnet_0.75_224": _Network(("mnasnet_075", None, 224), 215_493_104, 3_170_208, 224, None),
    "mnasnet_1.0_96": _Network(("mnasnet_100", None, 96), 58_794_752, 4_383_312, 96, None),
    "mnasnet_1.0_128": _Network(("mnasnet_100", None, 128), 103_528_448, 4_383_312, 128, None),
    "mnasnet_1.0_160": _Network(("mnasnet_100", None, 160), 161_043_200, 4_383_312, 160, None),
    "mnasnet_1.0_192": _Network(("mnasnet_100", None, 192), 231_339_008, 4_383_312, 192, None),
    "mnasnet_1.0_224": _Network(("mnasnet_100", None, 224), 314_415_872, 4_383_312, 224, None),
    "mnasnet_1.3_224": _Network(("mnasnet_100", 1.3, 224), 526_362_432, 6_282_256, 224, None),
}

# Device, arithmetic, source, and milliseconds by network.
_TABLES: tuple[tuple[str, str, str, dict[str, float]], ...] = (
    (
        "snapdragon_821_core",
        "float32",
        _SLIM,
        {
            "mobilenet_v2_1.4_224": 138.0,
            "mobilenet_v2_1.3_224": 123.0,
            "mobilenet_v2_1.0_224": 73.8,
            "mobilenet_v2_1.0_192": 55.1,
            "mobilenet_v2_1.0_160": 40.2,
            "mobilenet_v2_1.0_128": 27.6,
            "mobilenet_v2_1.0_96": 17.6,
            "mobilenet_v2_0.75_224": 55.8,
            "mobilenet_v2_0.75_192": 41.6,
            "mobilenet_v2_0.75_160": 30.4,
            "mobilenet_v2_0.75_128": 21.9,
            "mobilenet_v2_0.75_96": 14.2,
            "mobilenet_v2_0.5_224": 28.7,
            "mobilenet_v2_0.5_192": 21.1,
            "mobilenet_v2_0.5_160": 14.9,
            "mobilenet_v2_0.5_128": 9.9,
            "mobilenet_v2_0.5_96": 6.4,
            "mobilenet_v2_0.35_224": 19.7,
            "mobilenet_v2_0.35_192": 14.6,
            "mobilenet_v2_0.35_160": 10.5,
            "mobilenet_v2_0.35_128": 6.9,
            "mobilenet_v2_0.35_96": 4.5,
        },
    ),
    (
        "snapdragon_821_core",
        "float32",
        _SLIM,
        {
            "v3-large_224_1.0": 51.2,
            "v3-large_224_0.75": 39.8,
            "v3-small_224_1.0": 15.8,
            "v3-small_224_0.75": 12.8,
            "v3-large-minimalistic_224_1.0": 44.1,
            "v3-small-minimalistic_224_1.0": 12.2,
        },
    ),
    (
        "snapdragon_821_core",
        "int8",
        _SLIM,
        {"v3-large_224_1.0": 44.0, "v3-small_224_1.0": 15.5, "v3-large-minimalistic_224_1.0": 37.0},
    ),
    (
        "snapdragon_835_core",
        "float32",
        _SLIM,
        {
            "v3-large_224_1.0": 61.0,
            "v3-large_224_0.75": 48.0,
            "v3-small_224_1.0": 19.4,
            "v3-small_224_0.75": 15.9,
            "v3-large-minimalistic_224_1.0": 51.0,
            "v3-small-minimalistic_224_1.0": 15.1,
        },
    ),
    (
        "snapdragon_835_core",
        "int8",
        _SLIM,
        {"v3-large_224_1.0": 42.5, "v3-small_224_1.0": 15.0, "v3-large-minimalistic_224_1.0": 35.0},
    ),
    (
        "snapdragon_845_core",
        "float32",
        _SLIM,
        {
            "v3-large_224_1.0": 44.0,
            "v3-large_224_0.75": 34.0,
            "v3-small_224_1.0": 14.4,
            "v3-small_224_0.75": 11.6,
            "v3-large-minimalistic_224_1.0": 35.0,
            "v3-small-minimalistic_224_1.0": 11.0,
        },
    ),
    (
        "snapdragon_845_core",
        "int8",
        _SLIM,
        {"v3-large_224_1.0": 32.0, "v3-small_224_1.0": 10.7, "v3-large-minimalistic_224_1.0": 27.0},
    ),
    ("snapdragon_855_core", "int8", _SLIM, {"mobilenet_edgetpu_224_0.75": 13.8, "mobilenet_edgetpu_224_1.0": 20.6}),
    (
        "snapdragon_855_cpu",
        "float32",
        _LITE,
        {
            "efficientnet-lite0": 12.0,
            "efficientnet-lite1": 18.0,
            "efficientnet-lite2": 26.0,
            "efficientnet-lite3": 41.0,
            "efficientnet-lite4": 76.0,
        },
    ),
    (
        "snapdragon_855_cpu",
        "int8",
        _LITE,
        {
            "efficientnet-lite0": 6.5,
            "efficientnet-lite1": 9.1,
            "efficientnet-lite2": 12.0,
            "efficientnet-lite3": 18.0,
            "efficientnet-lite4": 30.0,
        },
    ),
    (
        "snapdragon_845_cpu",
        "float32",
        _HOSTED,
        {
            "mobilenet_v1_0.25_128": 1.2,
            "mobilenet_v1_0.25_160": 1.7,
            "mobilenet_v1_0.25_192": 2.4,
            "mobilenet_v1_0.25_224": 3.3,
            "mobilenet_v1_0.50_128": 3.0,
            "mobilenet_v1_0.50_160": 4.4,
            "mobilenet_v1_0.50_192": 6.0,
            "mobilenet_v1_0.50_224": 7.9,
            "mobilenet_v1_0.75_128": 5.5,
            "mobilenet_v1_0.75_160": 8.2,
            "mobilenet_v1_0.75_192": 11.0,
            "mobilenet_v1_0.75_224": 14.6,
            "mobilenet_v1_1.0_128": 9.0,
            "mobilenet_v1_1.0_160": 13.4,
            "mobilenet_v1_1.0_192": 18.1,
            "mobilenet_v1_1.0_224": 24.0,
            "mobilenet_v2_1.0_224": 17.5,
            "mnasnet_0.50_224": 9.5,
            "mnasnet_0.75_224": 13.7,
            "mnasnet_1.0_96": 5.6,
            "mnasnet_1.0_128": 7.5,
            "mnasnet_1.0_160": 11.1,
            "mnasnet_1.0_192": 14.5,
            "mnasnet_1.0_224": 19.4,
            "mnasnet_1.3_224": 27.9,
        },
    ),
    (
        "snapdragon_845_cpu",
        "int8",
        _HOSTED,
        {
            "mobilenet_v1_0.25_128": 0.8,
            "mobilenet_v1_0.25_160": 1.3,
            "mobilenet_v1_0.25_192": 1.8,
            "mobilenet_v1_0.25_224": 2.3,
            "mobilenet_v1_0.50_128": 1.7,
            "mobilenet_v1_0.50_160": 2.6,
            "mobilenet_v1_0.50_192": 3.6,
            "mobilenet_v1_0.50_224": 4.7,
            "mobilenet_v1_0.75_128": 3.1,
            "mobilenet_v1_0.75_160": 4.7,
            "mobilenet_v1_0.75_192": 6.4,
            "mobilenet_v1_0.75_224": 8.5,
            "mobilenet_v1_1.0_128": 4.8,
            "mobilenet_v1_1.0_160": 7.3,
            "mobilenet_v1_1.0_192": 9.9,
            "mobilenet_v1_1.0_224": 13.0,
            "mobilenet_v2_1.0_224": 12.0,
        },
    ),
    ("snapdragon_855_cpu", "float32", _TFLITE, {"mobilenet_v1_1.0_224": 14.0}),
    ("snapdragon_855_cpu", "int8", _TFLITE, {"mobilenet_v1_1.0_224": 5.0}),
    (
        "snapdragon_821_core",
        "float32",
        _XNNPACK,
        {
            "mobilenet_v1_1.0_224": 82.0,
            "mobilenet_v2_1.0_224": 49.0,
            "v3-large_224_1.0": 39.0,
            "v3-small_224_1.0": 12.0,
        },
    ),
    (
        "snapdragon_835_core",
        "float32",
        _XNNPACK,
        {
            "mobilenet_v1_1.0_224": 86.0,
            "mobilenet_v2_1.0_224": 53.0,
            "v3-large_224_1.0": 42.0,
            "v3-small_224_1.0": 14.0,
        },
    ),
    (
        "snapdragon_835_cpu",
        "float32",
        _XNNPACK,
        {"mobilenet_v1_1.0_224": 27.0, "mobilenet_v2_1.0_224": 18.0, "v3-large_224_1.0": 16.0, "v3-small_224_1.0": 6.0},
    ),
    (
        "raspberry_pi_4",
        "float32",
        _XNNPACK,
        {
            "mobilenet_v1_1.0_224": 75.0,
            "mobilenet_v2_1.0_224": 44.0,
            "v3-large_224_1.0": 41.0,
            "v3-small_224_1.0": 14.0,
        },
    ),
    (
        "snapdragon_821_core",
        "float32",
        _NCNN,
        {"mobilenet_v1_1.0_224": 81.0, "mnasnet_1.0_224": 51.35, "efficientnet_b0": 92.22},
    ),
    ("snapdragon_821_core", "int8", _NCNN, {"mobilenet_v1_1.0_224": 61.33}),
    (
        "snapdragon_821_cpu",
        "float32",
        _NCNN,
        {"mobilenet_v1_1.0_224": 27.88, "mnasnet_1.0_224": 20.74, "efficientnet_b0": 34.91},
    ),
    ("snapdragon_821_cpu", "int8", _NCNN, {"mobilenet_v1_1.0_224": 20.46}),
    (
        "snapdragon_835_core",
        "float32",
        _NCNN,
        {"mobilenet_v1_1.0_224": 107.13, "mnasnet_1.0_224": 68.65, "efficientnet_b0": 146.14},
    ),
    ("snapdragon_835_core", "int8", _NCNN, {"mobilenet_v1_1.0_224": 157.82}),
    (
        "snapdragon_835_cpu",
        "float32",
        _NCNN,
        {"mobilenet_v1_1.0_224": 37.32, "mnasnet_1.0_224": 26.45, "efficientnet_b0": 48.85},
    ),
    ("snapdragon_835_cpu", "int8", _NCNN, {"mobilenet_v1_1.0_224": 64.49}),
    (
        "raspberry_pi_4_core",
        "float32",
        _NCNN,
        {"mobilenet_v1_1.0_224": 124.32, "mnasnet_1.0_224": 83.98, "efficientnet_b0": 129.73},
    ),
    ("raspberry_pi_4_core", "int8", _NCNN, {"mobilenet_v1_1.0_224": 84.82}),
    (
        "raspberry_pi_4",
        "float32",
        _NCNN,
        {"mobilenet_v1_1.0_224": 61.17, "mnasnet_1.0_224": 51.98, "efficientnet_b0": 74.19},
    ),
    ("raspberry_pi_4", "int8", _NCNN, {"mobilenet_v1_1.0_224": 34.37}),
    (
        "raspberry_pi_5_core",
        "float16",
        _NCNN,
        {"mobilenet_v1_1.0_224": 20.3, "mnasnet_1.0_224": 12.99, "efficientnet_b0": 24.2},
    ),
    ("raspberry_pi_5_core", "int8", _NCNN, {"mobilenet_v1_1.0_224": 14.44}),
    ("raspberry_pi_5", "float16", _NCNN, {"mnasnet_1.0_224": 7.1, "efficientnet_b0": 12.33}),
    ("raspberry_pi_5", "int8", _NCNN, {"mobilenet_v1_1.0_224": 8.74}),
    ("coral_edge_tpu", "int8", _CORAL, {"mobilenet_v1_1.0_224": 2.22, "mobilenet_v2_1.0_224": 2.56}),
    (
        "stm32h743",
        "int8",
        _STM32_V1,
        {"mobilenet_v1_0.25_224": 166.75, "mobilenet_v1_0.50_224": 504.37, "mobilenet_v1_1.0_224": 1641.84},
    ),
    (
        "stm32h743",
        "int8",
        _STM32_V2,
        {
            "mobilenet_v2_0.35_128": 116.13,
            "mobilenet_v2_0.35_224": 313.92,
            "mobilenet_v2_1.0_224": 1106.64,
            "mobilenet_v2_1.4_224": 2010.66,
        },
    ),
)


def _latency(device: str, dtype: str, source: str, name: str, milliseconds: float) -> Latency:
    network = _NETWORKS[name]
    values = network.parameters + 3 * network.image_size**2 + _CLASSES
    return Latency(
        device,
        name,
        macs=network.macs,
        parameters=network.parameters,
        traffic=values * _BYTES[dtype],
        dtype=dtype,
        seconds=milliseconds / 1e3,
        source=source,
        build=network.build,
        millions=network.millions,
    )


MEASURED: tuple[Latency, ...] = tuple(
    _latency(device, dtype, source, name, milliseconds)
    for device, dtype, source, times in _TABLES
    for name, milliseconds in times.items()
)
