"""Published peak rates of devices.

A lower bound on time needs rates that the hardware cannot exceed. Therefore clocks are the highest ones, and where
sources differ or are vague, the higher figure is taken.
"""

from jds.cost.devices._peak import Peak

_GIB, _MIB, _KIB = 2**30, 2**20, 2**10
_GITHUB = "https://github.com"

_H100 = (
    "https://glennklockwood.com/garden/processors/h100 (rates, memory); "
    "https://archive-lib.hpctech.co.jp/gpuproduct/nvidia-h100.html (cache)"
)
_A100 = "https://glennklockwood.com/garden/processors/A100 (rates, memory); https://fudzilla.com/news/ai/50832 (cache)"
_V100 = (
    "https://hmc-tech.com/gpu/nvidia-t4-vs-nvidia-v100-sxm (rates); "
    "https://sysrqmts.com/es/gpus/compare/nvidia-tesla-t4-vs-nvidia-tesla-v100-sxm3-32-gb (memory, cache)"
)
_TPU_V5E = "https://cloud.google.com/tpu/docs/v5e"
_TPU = f"{_GITHUB}/jax-ml/scaling-book/blob/main/tpus.md"

_METAL = f"{_GITHUB}/philipturner/metal-benchmarks (GPU, cache)"
_A14_A16 = "https://siliconcat.net/es/soc/compare/apple-a14-bionic-vs-apple-a16-bionic (memory)"
_A15 = "https://askgeek.io/en/cpus/Apple/A15-Bionic (GPU, memory)"
_A15_NPU = "https://www.cpu-monkey.com/es/cpu-apple_a15_bionic_4_gpu (Neural Engine, memory)"
_A16_NPU = "https://www.cpu-monkey.com/en/compare_cpu-apple_a16_bionic-vs-google_tensor_g3 (Neural Engine)"
_M1 = "https://www.macrumors.com/2020/11/10/apple-announces-m1-chip-for-the-mac/ (Neural Engine)"
_M2 = "https://www.macrumors.com/2022/06/06/apple-announces-m2-chip-with-support-for-up-to-24gb-memory/ (memory)"
_M2_NPU = "https://www.geeky-gadgets.com/apple-m2-10-core-gpu-07-06-2022/ (Neural Engine)"

_GEN_3 = "https://runlocalai.co/hardware/snapdragon-8-gen-3"
_SNAPDRAGON_855 = "https://en.wikichip.org/wiki/qualcomm/snapdragon_800/855 (clocks, memory)"
_SNAPDRAGON_845 = "https://en.wikichip.org/wiki/qualcomm/snapdragon_800/845 (clocks, memory)"
_SNAPDRAGON_835 = (
    "https://klgadgetguy.com/ces-2017-qualcomm-officially-announces-the-snapdragon-835 (clocks); "
    "https://www.golem.de/news/qualcomm-snapdragon-835-und-snapdragon-660-nutzen-kryo-kerne-1611-124702.html (memory)"
)
_SNAPDRAGON_821 = (
    "https://nanoreview.net/en/soc-compare/qualcomm-snapdragon-821-vs-qualcomm-snapdragon-820 (memory); "
    f"{_GITHUB}/Tencent/ncnn/blob/master/benchmark/README.md (clocks)"
)
_TENSOR = (
    "https://www.notebookcheck.net/Google-Tensor-SoC-in-Pixel-6-series-features-two-Cortex-X1-cores-and-20-core-GPU-along-"
    "with-4-MB-L3-cache-built-not-to-win-benchmarks-but-to-deliver-experiences.574028.0.html (clocks, cache); "
    "https://nanoreview.net/en/soc-compare/google-tensor-vs-apple-a11-bionic (memory)"
)
_TENSOR_G2 = "https://blog.insitebuild.com/google-tensor-g2-chip-explained/ (clocks, cache, kind of memory)"

_RASPBERRY = f"{_GITHUB}/raspberrypi/documentation/blob/master/documentation/asciidoc/computers/processors"
_CPUFP = f"{_GITHUB}/pigirons/cpufp/blob/master/benchmark_result/arm64"
_RASPBERRY_4 = (
    f"{_RASPBERRY}/bcm2711.adoc (cores, cache, size of memory); "
    f"{_GITHUB}/gitluis/pi-cluster/wiki/Hardware (kind of memory); "
    f"{_CPUFP}/Broadcom_BCM2711.md (operations per cycle); "
    f"{_GITHUB}/Tencent/ncnn/blob/master/benchmark/README.md (clock)"
)
_RASPBERRY_5 = (
    f"{_RASPBERRY}/bcm2712.adoc (cores, clock, cache, memory); {_CPUFP}/Broadcom_BCM2712.md (operations per cycle)"
)
_JETSON_NANO = "https://cpu-gpu.alldbin.com/graphics-card-comparison/Jetson-TX2-GPU-and-Jetson-Nano-comparison.html"
_ORIN_NANO = (
    "https://www.brojogopalsapui.com/ai-foundations/sub_contents/AI_hardware/jetson_orin_nano_light.html, after "
    "NVIDIA's data sheet"
)
_AGX_ORIN = (
    "http://mzph.cn/web/30785.shtml, after NVIDIA's technical brief (GPU); NVIDIA's data sheet DS-10662-001, as quoted "
    "elsewhere (memory)"
)
_CORAL = "https://coral.ai/docs/edgetpu/benchmarks/ (rate, link)"
_STM32F746 = (
    f"{_GITHUB}/platformio/platform-ststm32/blob/develop/boards/disco_f746ng.json (clock, memory); "
    "https://docobook.com/an4841-application-note-home-stmicroelectronics.html (instructions)"
)
_STM32H7 = (
    "https://0xhenry.dev/en/study/stm32-architecture (H743), "
    "https://docs.zephyrproject.org/2.3.0/boards/arm/stm32h747i_disco/doc/index.html (H747); "
    "https://docobook.com/an4841-application-note-home-stmicroelectronics.html (instructions)"
)
_NANO_33 = (
    f"{_GITHUB}/arduino/docs-content/blob/main/content/hardware/03.nano/boards/nano-33-ble/tech-specs.yml "
    "(clock, memory); https://docobook.com/an4841-application-note-home-stmicroelectronics.html (instructions)"
)
_RYZEN = (
    "https://arvutitark.ee/en/pc-components/processors-cpu/amd-ryzen-5-5600-processor-35-ghz-32-mb-l3-box-1128834 "
    f"(clock, cache, memory); {_GITHUB}/RRZE-HPC/OSACA/blob/master/osaca/data/zen3.yml (operations per cycle)"
)

# Operations per cycle of one core. A vector has 128 bits: 2 float64, 4 float32, 8 float16 or 16 int8.
#
# Cortex-A76 (and A78, with as many pipes): two multiply-adds of vectors, and two dot products of 16 pairs of bytes. So
# it is measured on Raspberry Pi 5 (`_RASPBERRY_5`). LLVM's AArch64SchedNeoverseN1.td, after Arm's guide, agrees on the
# multiply-adds.
_A76 = {"float64": 2 * 2 * 2, "float32": 2 * 4 * 2, "float16": 2 * 8 * 2, "int8": 2 * 16 * 2}
# Cortex-X1: twice the pipes (src/arm/uarch.c of https://github.com/Dr-Noob/cpufetch, after AnandTech).
_X1 = {arithmetic: 2 * operations for arithmetic, operations in _A76.items()}
# Cortex-A75: its pipes have half the width of A76's (http://techarx.com/cortex-a76-in-depth/), and Snapdragon 845 has
# float16, but no dot products (src/arm/linux/aarch64-isa.c of https://github.com/pytorch/cpuinfo). Without them, an
# instruction multiplies 8 pairs of bytes and adds the products to numbers of 16 bits; at most one on each pipe.
# (cpufetch counts twice these operations for A75 and A73, but so it does for A72, where the half is measured.)
_A75 = {"float64": 2 * 2, "float32": 4 * 2, "float16": 8 * 2, "int8": 2 * 8 * 2}
# Cortex-A73, the one before: two pipes (https://www.anandtech.com/show/10347/arm-cortex-a73-artemis-unveiled/2), taken
# to be no wider than A75's, and no float16.
_A73 = {"float64": 2 * 2, "float32": 4 * 2, "int8": 2 * 8 * 2}
# Cortex-A72: a multiply-add of a vector, as measured on Raspberry Pi 4 (`_RASPBERRY_4`), and 8 products of bytes
# (osaca/data/a72.yml of https://github.com/RRZE-HPC/OSACA: 16 in two cycles).
_A72 = {"float64": 2 * 2, "float32": 4 * 2, "int8": 8 * 2}
# Kryo, Qualcomm's own: a multiply-add of a vector takes both of its units X, and so do 8 products of bytes (LLVM's
# AArch64SchedKryoDetails.td).
_KRYO = {"float64": 2 * 2, "float32": 4 * 2, "int8": 8 * 2}
# Cortex-M4 and M7: SMLAD multiplies two pairs of numbers of 16 bits, to which bytes are extended; the floating-point
# unit has one multiply-add.
_CORTEX_M = {"float32": 2, "int8": 2 * 2}
# Zen 3: two multiply-adds of 256 bits. VPMADDUBSW multiplies 32 pairs of bytes; at most one on each of these pipes.
_ZEN_3 = {"float64": 2 * 4 * 2, "float32": 2 * 8 * 2, "int8": 2 * 32 * 2}

# Transfers per second times bytes: four channels of 16 bits, and Raspberry Pi's 32 bits.
_LPDDR4X_4266, _LPDDR4X_3733, _LPDDR5_6400 = 4266e6 * 8, 3733e6 * 8, 6400e6 * 8


def _cores(*cores: tuple[dict[str, int], float]) -> dict[str, float]:
    """Sums the rates of cores, given as operations per cycle and the sum of their clocks."""
    return {arithmetic: sum(core[arithmetic] * clock for core, clock in cores) for arithmetic in cores[0][0]}


def _ampere_rates(float32: float, int8: float) -> dict[str, float]:
    """Returns the rates of a GPU whose tensor cores have the ratios of A100's."""
    halves = {"tfloat32": int8 / 4, "bfloat16": int8 / 2, "float16": int8 / 2}
    return {"float32": float32, **halves, "int8": int8}


DEVICES: dict[str, Peak] = {
    # Data centers. H100's and A100's rates of `float64` are those of the tensor cores.
    "h100": Peak(
        "NVIDIA H100 SXM",
        {
            "float64": 66.9e12,
            "float32": 66.9e12,
            "tfloat32": 494.7e12,
            "bfloat16": 989.4e12,
            "float16": 989.4e12,
            "int8": 1978.9e12,
        },
        bytes=3.35e12,
        source=_H100,
        memory=80 * 10**9,
        cache=50 * _MIB,
    ),
    "a100": Peak(
        "NVIDIA A100 SXM 80 GB",
        {
            "float64": 19.5e12,
            "float32": 19.5e12,
            "tfloat32": 156e12,
            "bfloat16": 312e12,
            "float16": 312e12,
            "int8": 624e12,
        },
        bytes=2.039e12,
        source=_A100,
        memory=80 * 10**9,
        cache=40 * _MIB,
    ),
    "v100": Peak(
        "NVIDIA V100 SXM 32 GB",
        {"float64": 7.834e12, "float32": 15.67e12, "float16": 125.34e12, "int8": 62.67e12},
        bytes=897e9,
        source=_V100,
        memory=32 * 10**9,
        cache=6 * _MIB,
    ),
    "t4": Peak(
        "NVIDIA T4",
        {"float64": 0.2544e12, "float32": 8.141e12, "float16": 65.13e12, "int8": 130.25e12},
        bytes=320e9,
        source=_V100,
        memory=16 * 10**9,
        cache=4 * _MIB,
    ),
    # The source rounds the bandwidths of v4 and v6e to 1.2 and 1.6 TB/s; for v4, it also has 1.23.
    "tpu_v4": Peak(
        "Google TPU v4", {"bfloat16": 275e12, "int8": 275e12}, bytes=1.23e12, source=_TPU, memory=32 * 10**9
    ),
    # The maker has 393 for int8, which is twice the rate for bfloat16 but for rounding.
    "tpu_v5e": Peak(
        "Google TPU v5e",
        {"bfloat16": 197e12, "int8": 2 * 197e12},
        bytes=819e9,
        source=_TPU_V5E,
        memory=16 * 10**9,
        is_from_maker=True,
    ),
    "tpu_v5p": Peak(
        "Google TPU v5p", {"bfloat16": 459e12, "int8": 918e12}, bytes=2.8e12, source=_TPU, memory=96 * 10**9
    ),
    "tpu_v6e": Peak(
        "Google TPU v6e", {"bfloat16": 920e12, "int8": 1840e12}, bytes=1.65e12, source=_TPU, memory=32 * 10**9
    ),
    # Apple. It does not say in what its Neural Engines compute: both float16 and int8 are bounded by the figure.
    "apple_a14_gpu": Peak(
        "Apple A14 (iPhone 12), GPU",
        {"float32": 654.3e9, "float16": 1309e9},
        bytes=_LPDDR4X_4266,
        source=f"{_A14_A16}; {_METAL}",
        cache=16 * _MIB,
    ),
    "apple_a14_npu": Peak(
        "Apple A14 (iPhone 12), Neural Engine",
        {"float16": 11e12, "int8": 11e12},
        bytes=_LPDDR4X_4266,
        source=f"{_A14_A16}; https://profilbaru.com/ko/애플_A15 (Neural Engine); {_METAL}",
        cache=16 * _MIB,
    ),
    "apple_a15_gpu": Peak(
        "Apple A15 (iPhone 13 Pro), GPU",
        {"float32": 1.713e12, "float16": 1.713e12},
        bytes=34.1e9,
        source=f"{_A15}; {_METAL}",
        cache=32 * _MIB,
    ),
    "apple_a15_npu": Peak(
        "Apple A15 (iPhone 13), Neural Engine",
        {"float16": 15.8e12, "int8": 15.8e12},
        bytes=34.1e9,
        source=f"{_A15_NPU}; {_METAL}",
        cache=32 * _MIB,
    ),
    "apple_a16_gpu": Peak(
        "Apple A16 (iPhone 14 Pro and 15), GPU",
        {"float32": 1.7894e12, "float16": 1.7894e12},
        bytes=_LPDDR5_6400,
        source=f"{_A14_A16}; {_METAL}",
        cache=24 * _MIB,
    ),
    "apple_a16_npu": Peak(
        "Apple A16 (iPhone 14 Pro and 15), Neural Engine",
        {"float16": 17e12, "int8": 17e12},
        bytes=_LPDDR5_6400,
        source=f"{_A16_NPU}; {_A14_A16}; {_METAL}",
        cache=24 * _MIB,
    ),
    # Of M2's bandwidth, it is said that it is up 50 percent from M1's: at least 45.
    "apple_m1_gpu": Peak(
        "Apple M1, GPU",
        {"float32": 2.617e12, "float16": 2.617e12},
        bytes=100e9 / 1.45,
        source=f"{_M2}; {_METAL}",
        cache=8 * _MIB,
    ),
    "apple_m1_npu": Peak(
        "Apple M1, Neural Engine",
        {"float16": 11e12, "int8": 11e12},
        bytes=100e9 / 1.45,
        source=f"{_M1}; {_M2}; {_METAL}",
        cache=8 * _MIB,
    ),
    "apple_m2_gpu": Peak(
        "Apple M2, GPU",
        {"float32": 3.579e12, "float16": 3.579e12},
        bytes=100e9,
        source=f"{_M2}; {_METAL}",
        cache=8 * _MIB,
    ),
    "apple_m2_npu": Peak(
        "Apple M2, Neural Engine",
        {"float16": 15.8e12, "int8": 15.8e12},
        bytes=100e9,
        source=f"{_M2_NPU}; {_M2}; {_METAL}",
        cache=8 * _MIB,
    ),
    # Android phones. Of the cores, the large ones.
    "snapdragon_8_gen_3_npu": Peak("Qualcomm Snapdragon 8 Gen 3, NPU", {"int8": 45e12}, bytes=76.8e9, source=_GEN_3),
    "snapdragon_855_cpu": Peak(
        "Qualcomm Snapdragon 855 (Pixel 4), its four large CPU cores",
        _cores((_A76, 2.84e9 + 3 * 2.42e9)),
        bytes=_LPDDR4X_4266,
        source=_SNAPDRAGON_855,
    ),
    "snapdragon_855_core": Peak(
        "Qualcomm Snapdragon 855 (Pixel 4), one large CPU core",
        _cores((_A76, 2.84e9)),
        bytes=_LPDDR4X_4266,
        source=_SNAPDRAGON_855,
    ),
    "snapdragon_845_cpu": Peak(
        "Qualcomm Snapdragon 845 (Pixel 3), its four large CPU cores",
        _cores((_A75, 4 * 2.8e9)),
        bytes=_LPDDR4X_3733,
        source=_SNAPDRAGON_845,
    ),
    "snapdragon_845_core": Peak(
        "Qualcomm Snapdragon 845 (Pixel 3), one large CPU core",
        _cores((_A75, 2.8e9)),
        bytes=_LPDDR4X_3733,
        source=_SNAPDRAGON_845,
    ),
    "snapdragon_835_cpu": Peak(
        "Qualcomm Snapdragon 835 (Pixel 2), its four large CPU cores",
        _cores((_A73, 4 * 2.45e9)),
        bytes=_LPDDR4X_3733,
        source=_SNAPDRAGON_835,
    ),
    "snapdragon_835_core": Peak(
        "Qualcomm Snapdragon 835 (Pixel 2), one large CPU core",
        _cores((_A73, 2.45e9)),
        bytes=_LPDDR4X_3733,
        source=_SNAPDRAGON_835,
    ),
    "snapdragon_821_cpu": Peak(
        "Qualcomm Snapdragon 821 (Pixel), its four CPU cores",
        _cores((_KRYO, 2 * 2.35e9 + 2 * 2.19e9)),
        bytes=_LPDDR4X_3733,
        source=_SNAPDRAGON_821,
    ),
    "snapdragon_821_core": Peak(
        "Qualcomm Snapdragon 821 (Pixel), one large CPU core",
        _cores((_KRYO, 2.35e9)),
        bytes=_LPDDR4X_3733,
        source=_SNAPDRAGON_821,
    ),
    "google_tensor_cpu": Peak(
        "Google Tensor (Pixel 6), its four larger CPU cores",
        _cores((_X1, 2 * 2.802e9), (_A76, 2 * 2.2563e9)),
        bytes=_LPDDR5_6400,
        source=_TENSOR,
        cache=8 * _MIB,
    ),
    # It has LPDDR5, as Tensor has: with the same transfers per second.
    "google_tensor_g2_cpu": Peak(
        "Google Tensor G2 (Pixel 7), its four larger CPU cores",
        _cores((_X1, 2 * 2.85e9), (_A76, 2 * 2.35e9)),
        bytes=_LPDDR5_6400,
        source=_TENSOR_G2,
        cache=8 * _MIB,
    ),
    # Boards. LPDDR4-3200 and LPDDR4X-4267, 32 bits.
    "raspberry_pi_4": Peak(
        "Raspberry Pi 4, CPU",
        _cores((_A72, 4 * 1.8e9)),
        bytes=3200e6 * 4,
        source=_RASPBERRY_4,
        memory=8 * _GIB,
        cache=1 * _MIB,
    ),
    "raspberry_pi_4_core": Peak(
        "Raspberry Pi 4, one CPU core",
        _cores((_A72, 1.8e9)),
        bytes=3200e6 * 4,
        source=_RASPBERRY_4,
        memory=8 * _GIB,
        cache=1 * _MIB,
    ),
    "raspberry_pi_5": Peak(
        "Raspberry Pi 5, CPU",
        _cores((_A76, 4 * 2.4e9)),
        bytes=4267e6 * 4,
        source=_RASPBERRY_5,
        cache=2 * _MIB,
    ),
    "raspberry_pi_5_core": Peak(
        "Raspberry Pi 5, one CPU core",
        _cores((_A76, 2.4e9)),
        bytes=4267e6 * 4,
        source=_RASPBERRY_5,
        cache=2 * _MIB,
    ),
    # 128 multiply-adds at 921.6 MHz, of pairs in float16.
    "jetson_nano": Peak(
        "NVIDIA Jetson Nano, GPU",
        {"float32": 128 * 2 * 921.6e6, "float16": 2 * 128 * 2 * 921.6e6},
        bytes=25.6e9,
        source=_JETSON_NANO,
        memory=4 * _GIB,
    ),
    # 1024 multiply-adds at 1.02 GHz, and half of 67 TOPS, which are with sparsity; 128 bits of LPDDR5-6400.
    "jetson_orin_nano": Peak(
        "NVIDIA Jetson Orin Nano Super, GPU",
        _ampere_rates(1024 * 2 * 1.02e9, 67e12 / 2),
        bytes=6400e6 * 16,
        source=_ORIN_NANO,
        memory=8 * _GIB,
    ),
    # Half of the GPU's 170 TOPS, which are with sparsity; 256 bits of LPDDR5-6400.
    "jetson_agx_orin": Peak(
        "NVIDIA Jetson AGX Orin 64 GB, GPU",
        _ampere_rates(5.33e12, 170e12 / 2),
        bytes=6400e6 * 32,
        source=_AGX_ORIN,
        memory=64 * _GIB,
        cache=4 * _MIB,
    ),
    # The bandwidth is that of its link, USB 3.0. Weights that fit into some 8 MB stay on the chip and do not pass the
    # link again: a bound on memory has to leave them out.
    "coral_edge_tpu": Peak("Google Coral, Edge TPU", {"int8": 4e12}, bytes=5e9 / 8, source=_CORAL, cache=8 * _MIB),
    # Microcontrollers: 64 bits (M7) or 32 bits (M4) of SRAM per cycle.
    "stm32f746": Peak(
        "STM32F746, Cortex-M7", _cores((_CORTEX_M, 216e6)), bytes=216e6 * 8, source=_STM32F746, memory=320 * _KIB
    ),
    "stm32h743": Peak(
        "STM32H743 or H747, Cortex-M7", _cores((_CORTEX_M, 480e6)), bytes=480e6 * 8, source=_STM32H7, memory=1 * _MIB
    ),
    "arduino_nano_33_ble": Peak(
        "Arduino Nano 33 BLE, Cortex-M4", _cores((_CORTEX_M, 64e6)), bytes=64e6 * 4, source=_NANO_33, memory=256 * _KIB
    ),
    # Desktops: two channels of 64 bits of DDR4-3200.
    "ryzen_5_5600": Peak(
        "AMD Ryzen 5 5600",
        _cores((_ZEN_3, 6 * 4.4e9)),
        bytes=3200e6 * 16,
        source=_RYZEN,
        cache=32 * _MIB,
    ),
}

ALIASES: dict[str, str] = {
    "a100_80gb": "a100",
    "nvidia_a100": "a100",
    "nvidia_h100": "h100",
    "nvidia_t4": "t4",
    "nvidia_v100": "v100",
    "tesla_t4": "t4",
    "tesla_v100": "v100",
    "tpu": "tpu_v5e",
    "tpu4": "tpu_v4",
    "tpu5e": "tpu_v5e",
    "tpu5p": "tpu_v5p",
    "tpu6e": "tpu_v6e",
    "tpuv4": "tpu_v4",
    "tpuv5e": "tpu_v5e",
    "tpuv5p": "tpu_v5p",
    "tpuv6e": "tpu_v6e",
    "trillium": "tpu_v6e",
    "v4": "tpu_v4",
    "v5e": "tpu_v5e",
    "v5p": "tpu_v5p",
    "v6e": "tpu_v6e",
    "a14": "apple_a14_npu",
    "a15": "apple_a15_npu",
    "a16": "apple_a16_npu",
    "apple_a14": "apple_a14_npu",
    "apple_a15": "apple_a15_npu",
    "apple_a16": "apple_a16_npu",
    "iphone": "apple_a16_npu",
    "iphone12": "apple_a14_npu",
    "iphone_12": "apple_a14_npu",
    "iphone12_pro": "apple_a14_npu",
    "iphone_12_pro": "apple_a14_npu",
    "iphone13": "apple_a15_npu",
    "iphone_13": "apple_a15_npu",
    "iphone13_pro": "apple_a15_npu",
    "iphone_13_pro": "apple_a15_npu",
    "iphone14": "apple_a15_npu",
    "iphone_14": "apple_a15_npu",
    "iphone14_pro": "apple_a16_npu",
    "iphone_14_pro": "apple_a16_npu",
    "iphone15": "apple_a16_npu",
    "iphone_15": "apple_a16_npu",
    "iphone_gpu": "apple_a16_gpu",
    "apple_m1": "apple_m1_gpu",
    "apple_m2": "apple_m2_gpu",
    "m1": "apple_m1_gpu",
    "m2": "apple_m2_gpu",
    "8gen3": "snapdragon_8_gen_3_npu",
    "8_gen_3": "snapdragon_8_gen_3_npu",
    "snapdragon_8_gen_3": "snapdragon_8_gen_3_npu",
    "snapdragon8gen3": "snapdragon_8_gen_3_npu",
    "snapdragon": "snapdragon_8_gen_3_npu",
    "sd855": "snapdragon_855_cpu",
    "sd845": "snapdragon_845_cpu",
    "sd835": "snapdragon_835_cpu",
    "sd821": "snapdragon_821_cpu",
    "snapdragon855": "snapdragon_855_cpu",
    "snapdragon845": "snapdragon_845_cpu",
    "snapdragon835": "snapdragon_835_cpu",
    "snapdragon821": "snapdragon_821_cpu",
    "snapdragon_855": "snapdragon_855_cpu",
    "snapdragon_845": "snapdragon_845_cpu",
    "snapdragon_835": "snapdragon_835_cpu",
    "snapdragon_821": "snapdragon_821_cpu",
    "pixel": "google_tensor_g2_cpu",
    "pixel1": "snapdragon_821_cpu",
    "pixel_1": "snapdragon_821_cpu",
    "pixel2": "snapdragon_835_cpu",
    "pixel_2": "snapdragon_835_cpu",
    "pixel3": "snapdragon_845_cpu",
    "pixel_3": "snapdragon_845_cpu",
    "pixel4": "snapdragon_855_cpu",
    "pixel_4": "snapdragon_855_cpu",
    "pixel6": "google_tensor_cpu",
    "pixel_6": "google_tensor_cpu",
    "pixel7": "google_tensor_g2_cpu",
    "pixel_7": "google_tensor_g2_cpu",
    "google_tensor": "google_tensor_cpu",
    "google_tensor_g2": "google_tensor_g2_cpu",
    "tensor": "google_tensor_cpu",
    "tensor_g2": "google_tensor_g2_cpu",
    "pi": "raspberry_pi_5",
    "pi4": "raspberry_pi_4",
    "pi_4": "raspberry_pi_4",
    "pi5": "raspberry_pi_5",
    "pi_5": "raspberry_pi_5",
    "raspberry": "raspberry_pi_5",
    "raspberry_pi": "raspberry_pi_5",
    "raspberrypi": "raspberry_pi_5",
    "raspberrypi4": "raspberry_pi_4",
    "raspberrypi5": "raspberry_pi_5",
    "rpi": "raspberry_pi_5",
    "rpi4": "raspberry_pi_4",
    "rpi_4": "raspberry_pi_4",
    "rpi5": "raspberry_pi_5",
    "rpi_5": "raspberry_pi_5",
    "jetson": "jetson_orin_nano",
    "agx_orin": "jetson_agx_orin",
    "orin": "jetson_agx_orin",
    "orin_nano": "jetson_orin_nano",
    "coral": "coral_edge_tpu",
    "edge_tpu": "coral_edge_tpu",
    "edgetpu": "coral_edge_tpu",
    "arduino": "arduino_nano_33_ble",
    "nano33": "arduino_nano_33_ble",
    "nano_33_ble": "arduino_nano_33_ble",
    "nrf52840": "arduino_nano_33_ble",
    "cortex_m4": "arduino_nano_33_ble",
    "cortex_m7": "stm32h743",
    "stm32": "stm32h743",
    "stm32f7": "stm32f746",
    "stm32h7": "stm32h743",
    "stm32h747": "stm32h743",
    "ryzen": "ryzen_5_5600",
    "ryzen5600": "ryzen_5_5600",
    "ryzen_5600": "ryzen_5_5600",
}
