"""Only what pyproject.toml cannot say: C is built through cffi."""

from setuptools import setup

setup(
    cffi_modules=[
        "xensnd/core/build.py:ffi",
        "xensnd/transport/xen/build_xen.py:ffi",
    ]
)
