#!/bin/sh
# Qubes runs this after packages of a template have changed. It reports that the template has the
# service that `qvm-service QUBE xensnd on` switches on.
qvm-features-request supported-service.xensnd=1
