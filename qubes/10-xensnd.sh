#!/bin/sh
# Qubes asks a template what it can do, after its packages have changed: it has a service that
# `qvm-service QUBE xensnd on` switches on.
qvm-features-request supported-service.xensnd=1
