"""Our numbers and names against Xen's own headers, as the compiler sees them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from shutil import which

import pytest

from tests.support import shared_pages as pages
from xensnd.sndif import layout, packets, params, store_fields
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.packets import Operation, Status, Trigger
from xensnd.sndif.states import XenbusState

HEADER = Path("/usr/include/xen/io/sndif.h")
FIELDS = {
    "XENSND_FIELD_BE_VERSIONS": store_fields.VERSIONS,
    "XENSND_FIELD_FE_VERSION": store_fields.VERSION,
    "XENSND_FIELD_VCARD_SHORT_NAME": store_fields.SHORT_NAME,
    "XENSND_FIELD_VCARD_LONG_NAME": store_fields.LONG_NAME,
    "XENSND_FIELD_RING_REF": store_fields.RING_REF,
    "XENSND_FIELD_EVT_CHNL": store_fields.EVENT_CHANNEL,
    "XENSND_FIELD_EVT_RING_REF": store_fields.EVT_RING_REF,
    "XENSND_FIELD_EVT_EVT_CHNL": store_fields.EVT_EVENT_CHANNEL,
    "XENSND_FIELD_DEVICE_NAME": store_fields.NAME,
    "XENSND_FIELD_TYPE": store_fields.TYPE,
    "XENSND_FIELD_STREAM_UNIQUE_ID": store_fields.UNIQUE_ID,
    "XENSND_FIELD_CHANNELS_MIN": store_fields.CHANNELS_MIN,
    "XENSND_FIELD_CHANNELS_MAX": store_fields.CHANNELS_MAX,
    "XENSND_FIELD_SAMPLE_RATES": store_fields.SAMPLE_RATES,
    "XENSND_FIELD_SAMPLE_FORMATS": store_fields.SAMPLE_FORMATS,
    "XENSND_FIELD_BUFFER_SIZE": store_fields.BUFFER_SIZE,
}
TEXTS = {
    **FIELDS,
    "XENSND_LIST_SEPARATOR": store_fields.LIST_SEPARATOR,
    "XENSND_STREAM_TYPE_PLAYBACK": store_fields.Direction.PLAYBACK.wire,
    "XENSND_STREAM_TYPE_CAPTURE": store_fields.Direction.CAPTURE.wire,
    **{f"XENSND_PCM_FORMAT_{each.name}_STR": each.wire_name for each in SampleFormat},
}


def camel_case(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


NUMBERS = {
    "XENSND_PROTOCOL_VERSION": int(store_fields.SUPPORTED_VERSIONS.split(",")[-1]),
    "XENSND_EVT_CUR_POS": packets.EVENT_CURRENT_POSITION,
    "XENSND_SAMPLE_RATE_MAX_LEN": store_fields.SAMPLE_RATE_MAX_LEN,
    "XENSND_SAMPLE_FORMAT_MAX_LEN": store_fields.SAMPLE_FORMAT_MAX_LEN,
    **{f"XENSND_OP_{each.name}": each.value for each in Operation},
    **{f"XENSND_OP_TRIGGER_{each.name}": each.value for each in Trigger},
    **{f"XENSND_PCM_FORMAT_{each.name}": each.value for each in SampleFormat},
    **{f"-XEN_{each.name}": each.value for each in Status if each is not Status.OK},
    **{f"XenbusState{camel_case(each.name)}": each.value for each in XenbusState},
}
# The offsets that our struct formats imply; the golden packets show that they do.
LAYOUT = {
    "sizeof(struct xensnd_req)": packets.PACKET_OCTETS,
    "sizeof(struct xensnd_resp)": packets.PACKET_OCTETS,
    "sizeof(struct xensnd_evt)": packets.PACKET_OCTETS,
    "sizeof(struct xensnd_query_hw_param)": params.HW_PARAMS_OCTETS,
    "sizeof(struct xensnd_open_req)": 20,
    "sizeof(struct xensnd_rw_req)": 8,
    "sizeof(struct xensnd_trigger_req)": 1,
    "sizeof(struct xensnd_cur_pos_evt)": 8,
    "sizeof(struct xensnd_event_page)": pages.EVENT_HEADER_OCTETS,
    "offsetof(struct xensnd_req, operation)": 2,
    "offsetof(struct xensnd_req, op)": 8,
    "offsetof(struct xensnd_req, op.open.pcm_rate)": 8,
    "offsetof(struct xensnd_req, op.open.pcm_format)": 12,
    "offsetof(struct xensnd_req, op.open.pcm_channels)": 13,
    "offsetof(struct xensnd_req, op.open.buffer_sz)": 16,
    "offsetof(struct xensnd_req, op.open.gref_directory)": 20,
    "offsetof(struct xensnd_req, op.open.period_sz)": 24,
    "offsetof(struct xensnd_req, op.rw.offset)": 8,
    "offsetof(struct xensnd_req, op.rw.length)": 12,
    "offsetof(struct xensnd_req, op.trigger.type)": 8,
    "offsetof(struct xensnd_req, op.hw_param.formats)": 8,
    "offsetof(struct xensnd_req, op.hw_param.rates.min)": 16,
    "offsetof(struct xensnd_req, op.hw_param.rates.max)": 20,
    "offsetof(struct xensnd_req, op.hw_param.channels.min)": 24,
    "offsetof(struct xensnd_req, op.hw_param.channels.max)": 28,
    "offsetof(struct xensnd_req, op.hw_param.buffer.min)": 32,
    "offsetof(struct xensnd_req, op.hw_param.buffer.max)": 36,
    "offsetof(struct xensnd_req, op.hw_param.period.min)": 40,
    "offsetof(struct xensnd_req, op.hw_param.period.max)": 44,
    "offsetof(struct xensnd_resp, operation)": 2,
    "offsetof(struct xensnd_resp, status)": 4,
    "offsetof(struct xensnd_resp, resp.hw_param)": 8,
    "offsetof(struct xensnd_evt, type)": 2,
    "offsetof(struct xensnd_evt, op.cur_pos.position)": 8,
    "offsetof(struct xensnd_event_page, in_cons)": pages.IN_CONS_OFFSET,
    "offsetof(struct xensnd_event_page, in_prod)": pages.IN_PROD_OFFSET,
    "XENSND_EVENT_PAGE_SIZE": layout.PAGE_OCTETS,
    "XENSND_IN_RING_OFFS": pages.EVENT_HEADER_OCTETS,
    "XENSND_IN_RING_LEN": pages.EVENT_SLOTS,
    "offsetof(struct xensnd_page_directory, gref_dir_next_page)": pages.DIRECTORY_NEXT_OFFSET,
    "offsetof(struct xensnd_page_directory, gref)": pages.DIRECTORY_REFS_OFFSET,
    "(4096 - offsetof(struct xensnd_page_directory, gref)) / sizeof(grant_ref_t)": (
        layout.DIRECTORY_REFS
    ),
    "offsetof(struct xen_sndif_sring, req_prod)": pages.REQ_PROD_OFFSET,
    "offsetof(struct xen_sndif_sring, req_event)": pages.REQ_EVENT_OFFSET,
    "offsetof(struct xen_sndif_sring, rsp_prod)": pages.RSP_PROD_OFFSET,
    "offsetof(struct xen_sndif_sring, rsp_event)": pages.RSP_EVENT_OFFSET,
    "offsetof(struct xen_sndif_sring, ring)": pages.RING_HEADER_OCTETS,
    "sizeof(union xen_sndif_sring_entry)": packets.PACKET_OCTETS,
    "__CONST_RING_SIZE(xen_sndif, 4096)": pages.RING_SLOTS,
}


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What each expression in NUMBERS, LAYOUT and TEXTS is in C."""
    compiler = which("gcc")
    if compiler is None or not HEADER.exists():
        pytest.skip("needs gcc and libxen-dev")
    prints = [f'printf("%lld\\n", (long long)({each}));' for each in [*NUMBERS, *LAYOUT]]
    prints += [f'puts({each}[0] ? {each} : "");' for each in TEXTS]
    folder = tmp_path_factory.mktemp("header")
    source = folder / "ask.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <string.h>\n"
        "#include <xen/xen.h>\n#include <xen/errno.h>\n"
        "#include <xen/io/xenbus.h>\n#include <xen/io/sndif.h>\n"
        "int main(void)\n{\n" + "\n".join(prints) + "\nreturn 0;\n}\n"
    )
    program = folder / "ask"
    subprocess.run([compiler, "-o", program, source], check=True)
    answers = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return dict(zip([*NUMBERS, *LAYOUT, *TEXTS], answers.splitlines(), strict=True))


@pytest.mark.parametrize("expression", NUMBERS)
def test_number_is_the_headers(header: Mapping[str, str], expression: str) -> None:
    assert int(header[expression]) == NUMBERS[expression]


@pytest.mark.parametrize("expression", LAYOUT)
def test_layout_is_the_headers(header: Mapping[str, str], expression: str) -> None:
    assert int(header[expression]) == LAYOUT[expression]


@pytest.mark.parametrize("expression", TEXTS)
def test_text_is_the_headers(header: Mapping[str, str], expression: str) -> None:
    assert header[expression] == TEXTS[expression]


@pytest.mark.parametrize(
    ("prefix", "ours"),
    [
        ("XENSND_PCM_FORMAT_", len(SampleFormat) * 2),
        ("XENSND_OP_", len(Operation) + len(Trigger)),
        ("XENSND_EVT_", 1),
        ("XENSND_FIELD_", len(FIELDS)),
    ],
)
def test_header_defines_no_more_than_we_know(prefix: str, ours: int) -> None:
    if not HEADER.exists():
        pytest.skip("needs libxen-dev")
    defined = [
        line
        for line in HEADER.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"#define {prefix}")
    ]
    assert len(defined) == ours
