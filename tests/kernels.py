"""Settings under which one x86-64 machine computes as another processor would.

OpenBLAS, MKL, oneDNN and NumPy choose their kernels by the processor, and results differ in the
last bits. The environment variables below make them choose as they would on an older one.
"""

import platform

import numpy as np

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def settings():
    """Return the settings that this machine allows: a dictionary of environments by name."""
    found = {"native": ONE_THREAD, "two threads": dict.fromkeys(ONE_THREAD, "2")}
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return found  # the names below are those of x86-64 kernels
    features = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    found["oldest"] = ONE_THREAD | {
        "OPENBLAS_CORETYPE": "Prescott",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "NPY_DISABLE_CPU_FEATURES": " ".join(features),
    }
    newer = [name for name in features if name != "X86_V3"]
    if newer:  # a processor with AVX-512: also as one without
        found["middle"] = ONE_THREAD | {
            "OPENBLAS_CORETYPE": "Haswell",
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "NPY_DISABLE_CPU_FEATURES": " ".join(newer),
        }
    return found
