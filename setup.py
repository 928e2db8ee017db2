"""Only what pyproject.toml cannot say: the C core is built through cffi."""

from setuptools import setup

setup(cffi_modules=["xensnd/core/build_core.py:ffi"])
