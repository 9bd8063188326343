#!/usr/bin/env python3
"""What `doctor` and `train` say where a GPU is not used: no library, no driver, an old driver, no GPU, another
architecture. Rule: each is one line with what to do, and exit code 2 where the GPU was asked for. On the simulator;
skipped (77) where it was not built."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ingot_cli as base
from ingot_cli import answer, run, test

BUILD = os.path.dirname(os.path.abspath(os.environ.get("INGOT_BIN", "build/ingot")))
SIM = os.path.join(BUILD, "libingot_cuda_sim.so")
# (what fails in the fake runtime, what is said, what to do)
CASES = [
    ("*:1:35:on", "no NVIDIA driver is loaded", "install it, or use device=cpu"),
    ("cudaGetDeviceCount:1:35", "the NVIDIA driver supports CUDA 13.0, this build needs 13.0", "install a newer driver"),
    ("cudaGetDeviceCount:1:100", "the driver is there but shows no GPU", "CUDA_VISIBLE_DEVICES"),
    ("cudaFuncGetAttributes:1:209", "no code for this GPU's architecture", "-DINGOT_CUDA_ARCH=NN"),
    ("cudaGetDeviceCount:1:999", "cudaGetDeviceCount: unknown error (cudaErrorUnknown)", ""),
]


@test
def each_reason():
    for fail, said, to_do in CASES:
        env = {"INGOT_CUDA_LIBRARY": SIM, "INGOT_SIM_FAIL": fail}
        gpu = answer(run("doctor", "--json", env=env))["gpu"]
        assert gpu.startswith("none: device=cuda: ") and said in gpu and to_do in gpu, (fail, gpu)
        p = run("doctor", "device=cuda", env=env)
        assert said in p.out, (fail, p.out)


@test
def training_refuses():
    data = os.path.join(base.WORK, "pictures")
    base.make_data(data, {"train": 4})
    for fail, said, to_do in CASES:
        p = run("train", "data=" + data, "model=resnet20", "device=cuda", "out=never", "steps=1",
                env={"INGOT_CUDA_LIBRARY": SIM, "INGOT_SIM_FAIL": fail})
        assert p.returncode == 2 and said in p.err and to_do in p.err, (fail, p.returncode, p.err)
        assert not os.path.exists(os.path.join(base.WORK, "never")), "something is left of a run that cannot be"


@test
def a_library_that_is_none():
    gpu = answer(run("doctor", "--json", env={"INGOT_CUDA_LIBRARY": "/nowhere/libingot_cuda.so"}))["gpu"]
    assert "/nowhere/libingot_cuda.so could not be loaded" in gpu and "device=cpu" in gpu, gpu


@test
def a_gpu_is_told():
    env = {"INGOT_CUDA_LIBRARY": SIM, "INGOT_CUDA_LIBRARIES": os.path.join(BUILD, "fake_libraries")}
    report = answer(run("doctor", "--json", env=env))
    gpu = report["gpu"]
    assert "sm_90" in gpu and "CUDA 13." in gpu and "driver for" in gpu and "cuBLASLt 13.1.0" in gpu, gpu
    assert not any("cuBLASLt" in m["what"] for m in report["missing"]), report["missing"]


@test
def libraries_that_are_not_there():
    env = {"INGOT_CUDA_LIBRARY": SIM, "INGOT_CUDA_LIBRARIES": base.WORK}
    report = answer(run("doctor", "--json", env=env))
    assert "no cuBLASLt, no cuDNN" in report["gpu"], report["gpu"]
    for name in ("cuBLASLt", "cuDNN"):
        assert any(name in m["what"] and "pip install" in m["do"] for m in report["missing"]), report["missing"]


if __name__ == "__main__":
    if not os.path.exists(SIM):
        print(f"skipped: there is no {SIM} (the CUDA simulator needs nvcc)")
        sys.exit(77)
    sys.exit(base.main())
