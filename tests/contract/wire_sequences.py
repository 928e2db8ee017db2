"""Requests to send to two stores: what each of xenstored's rules is about."""

from __future__ import annotations

from tests.contract.raw_store import Step
from xensnd.localxen.store.wire import Op

DOMAIN0, OTHER, GUEST, SECOND = range(4)
# The guests are domains 1 and 2: the first that a machine makes.


def of(client: int, *requests: tuple[int, bytes] | tuple[int, bytes, int]) -> list[Step]:
    return [Step(client, *request) for request in requests]


# For each guest a directory of its own, and what it may not, may read, may write.
HOME = of(
    DOMAIN0,
    (Op.WRITE, b"/local/domain/1/name\0one"),
    (Op.SET_PERMS, b"/local/domain/1\0n0\0r1\0"),
    (Op.MKDIR, b"/local/domain/1/data\0"),
    (Op.SET_PERMS, b"/local/domain/1/data\0n1\0"),
    (Op.WRITE, b"/local/domain/2/name\0two"),
    (Op.SET_PERMS, b"/local/domain/2\0n0\0r2\0"),
    (Op.WRITE, b"/a/secret\0s"),
    (Op.WRITE, b"/a/readable\0r"),
    (Op.SET_PERMS, b"/a/readable\0n0\0r1\0"),
    (Op.WRITE, b"/a/writable\0w"),
    (Op.SET_PERMS, b"/a/writable\0n0\0w1\0r2\0"),
    (Op.WRITE, b"/a/both\0b"),
    (Op.SET_PERMS, b"/a/both\0b0\0n2\0"),
)

EVERYDAY = of(
    DOMAIN0,
    (Op.DIRECTORY, b"/\0"),
    (Op.READ, b"/a/b\0"),
    (Op.WRITE, b"/a/b/c\0one"),
    (Op.READ, b"/a/b/c\0"),
    (Op.READ, b"/a/b\0"),
    (Op.WRITE, b"/a/b/c\0"),
    (Op.READ, b"/a/b/c\0"),
    (Op.WRITE, b"/a/b/c\0bin\0ary\xff"),
    (Op.READ, b"/a/b/c\0"),
    (Op.DIRECTORY, b"/a\0"),
    (Op.DIRECTORY, b"/a/b/c\0"),
    (Op.MKDIR, b"/a/b\0"),
    (Op.MKDIR, b"/a/d/e\0"),
    (Op.DIRECTORY, b"/a\0"),
    (Op.RM, b"/a/missing\0"),
    (Op.RM, b"/missing/missing\0"),
    (Op.RM, b"/\0"),
    (Op.GET_PERMS, b"/a/b\0"),
    (Op.GET_PERMS, b"/nothing\0"),
    (Op.GET_PERMS, b"@introduceDomain\0"),
    (Op.GET_DOMAIN_PATH, b"7\0"),
    (Op.GET_DOMAIN_PATH, b" 7x\0"),
    (Op.GET_DOMAIN_PATH, b"\0"),
    (Op.GET_DOMAIN_PATH, b"-1\0"),
    (Op.WRITE, b"data/x\0relative"),
    (Op.READ, b"/local/domain/0/data/x\0"),
    (Op.DIRECTORY_PART, b"/a\0"),
    (Op.DIRECTORY_PART, b"/missing\x000\0"),
)

PATHS = [
    Step(DOMAIN0, op, path + b"\0")
    for path in (
        b"",
        b"/a/",
        b"//a",
        b"/a//b",
        b"/a b",
        b"/\xc3\xa4",
        b"/a.b",
        b"@x",
        b"relative/",
        b"/" + b"a" * 2047,
        b"/" + b"a" * 2048,
        b"/local/domain/1/" + b"a" * 2048,
        b"/local/domain/1/" + b"a" * 2049,
        b"/local/domain/123456/" + b"a" * 2030,
        b"r" * 2048,
        b"r" * 2049,
        b"/a-_@Z9",
    )
    for op in (Op.MKDIR, Op.READ, Op.DIRECTORY, Op.RM)
]

PERMISSIONS = of(
    DOMAIN0,
    (Op.MKDIR, b"/a/b\0"),
    *[
        (Op.SET_PERMS, b"/a/b\0" + words)
        for words in (
            b"",
            b"n0\0",
            b"b1\0r2\0",
            b"r1\0w1\0n0\0b2\0r0\0n1\0r1\0",
            b"x1\0",
            b"r\0",
            b"r1x\0",
            b"r0x2\0",
            b"r010\0",
            b"r08\0",
            b"n 1\0",
            b"n+1\0",
            b"n-1\0",
            b"n1",
            b"n1\0r2",
            b"n99\0",
            b"n1\0r99\0",
            b"\0",
        )
    ],
    (Op.GET_PERMS, b"/a/b\0"),
    (Op.MKDIR, b"/a/b/c\0"),
    (Op.GET_PERMS, b"/a/b/c\0"),
    (Op.SET_PERMS, b"/missing\0n0\0"),
    (Op.SET_PERMS, b"@introduceDomain\0n0\0r1\0"),
)

WATCHES = [
    *of(
        DOMAIN0,
        (Op.WATCH, b"/a\0t\0"),
        (Op.WATCH, b"/a\0t\0"),
        (Op.WATCH, b"/a\0other\0"),
        (Op.WATCH, b"data\0rel\0"),
        (Op.WATCH, b"/local/domain/0/data\0rel\0"),
        (Op.WATCH, b"/\0root\0"),
        (Op.WATCH, b"@introduceDomain\0i\0"),
        (Op.WATCH, b"@anything at all/\0i\0"),
        (Op.WATCH, b"/a\0"),
        (Op.WATCH, b"/a\0t\0three\0"),
        (Op.WATCH, b"/a/\0t\0"),
        (Op.WATCH, b"\0t\0"),
        (Op.WATCH, b"/a\0t\0tail"),
        (Op.WATCH, b"/b\0" + b"t" * 4000 + b"\0"),
        (Op.WRITE, b"/b/" + b"c" * 100 + b"\0"),
    ),
    *of(
        OTHER,
        (Op.WATCH, b"/a/b/c\0deep\0"),
        (Op.WRITE, b"/a/b/c/d\0x"),
        (Op.WRITE, b"/a/b/c/d\0x"),
        (Op.MKDIR, b"/a/b/c/d\0"),
        (Op.SET_PERMS, b"/a/b\0r0\0"),
        (Op.WRITE, b"/local/domain/0/data\0x"),
        (Op.WRITE, b"/local/domain/0/data/y\0x"),
        (Op.RM, b"/a/b/missing\0"),
        (Op.WRITE, b"/a/b/c/e\0x"),
        (Op.WATCH, b"/a/b/c/d\0first\0"),
        (Op.WATCH, b"/a/b/c/e\0second\0"),
        (Op.RM, b"/a\0"),
        (Op.RM, b"/local\0"),
    ),
    *of(
        DOMAIN0,
        (Op.UNWATCH, b"/a\0t\0"),
        (Op.UNWATCH, b"/a\0t\0"),
        (Op.UNWATCH, b"data\0nope\0"),
        (Op.UNWATCH, b"data\0rel\0"),
        (Op.UNWATCH, b"/a\0"),
        (Op.WRITE, b"/a\0x"),
        (Op.RESET_WATCHES, b"\0"),
        (Op.WRITE, b"/a\0x"),
    ),
]

TRANSACTIONS = [
    *of(
        DOMAIN0,
        (Op.WATCH, b"/\0t\0"),
        (Op.WRITE, b"/a/x\0000"),
        (Op.TRANSACTION_START, b"\0"),
        (Op.TRANSACTION_START, b"\0"),
        (Op.TRANSACTION_START, b"\0", 1),
        (Op.READ, b"/a/x\0", 99),
        (Op.TRANSACTION_END, b"T\0", 99),
        (Op.TRANSACTION_END, b"T\0"),
        (Op.TRANSACTION_END, b"X\0", 1),
        (Op.TRANSACTION_END, b"T", 1),
        (Op.WRITE, b"/a/x\0001", 1),
        (Op.WRITE, b"/a/x\0002", 2),
        (Op.READ, b"/a/x\0", 1),
        (Op.READ, b"/a/x\0"),
        (Op.TRANSACTION_END, b"T\0", 1),
        (Op.TRANSACTION_END, b"T\0", 2),
        (Op.TRANSACTION_END, b"T\0", 2),
        (Op.READ, b"/a/x\0"),
        # a node that is missing depends on the directory that would have it
        (Op.TRANSACTION_START, b"\0"),
        (Op.READ, b"/a/missing/deep\0", 3),
    ),
    *of(OTHER, (Op.WRITE, b"/a/neighbour\0")),
    *of(
        DOMAIN0,
        (Op.WRITE, b"/b\0", 3),
        (Op.TRANSACTION_END, b"T\0", 3),
        # made and removed, removed and made, a tree removed, an event for each in order
        (Op.TRANSACTION_START, b"\0"),
        (Op.WRITE, b"/a/new\0", 4),
        (Op.RM, b"/a/new\0", 4),
        (Op.RM, b"/a/x\0", 4),
        (Op.WRITE, b"/a/x\0again", 4),
        (Op.WRITE, b"/b/1/2\0", 4),
        (Op.WRITE, b"/b/3\0", 4),
        (Op.SET_PERMS, b"/b/1\0r0\0", 4),
        (Op.DIRECTORY, b"/b\0", 4),
        (Op.DIRECTORY, b"/\0", 4),
        (Op.TRANSACTION_END, b"T\0", 4),
        (Op.TRANSACTION_START, b"\0"),
        (Op.RM, b"/b\0", 5),
        (Op.DIRECTORY, b"/b\0", 5),
        (Op.DIRECTORY, b"/b\0"),
        (Op.TRANSACTION_END, b"F\0", 5),
        # an event for all below is not narrowed by a later one for the node alone
        (Op.TRANSACTION_START, b"\0"),
        (Op.WRITE, b"/b/1/2\0", 6),
        (Op.RM, b"/b/1\0", 6),
        (Op.TRANSACTION_END, b"T\0", 6),
        (Op.TRANSACTION_START, b"\0"),
        (Op.RM, b"/b\0", 7),
        (Op.TRANSACTION_END, b"T\0", 7),
        (Op.WATCH, b"/b\0inside\0", 77),
    ),
]

DOMAINS = [
    *of(DOMAIN0, (Op.WATCH, b"@introduceDomain\0i\0"), (Op.WATCH, b"@releaseDomain\0r\0")),
    *of(
        OTHER,
        (Op.IS_DOMAIN_INTRODUCED, b"0\0"),
        (Op.IS_DOMAIN_INTRODUCED, b"2\0"),
        (Op.IS_DOMAIN_INTRODUCED, b"9\0"),
        (Op.IS_DOMAIN_INTRODUCED, b"32752\0"),
        (Op.INTRODUCE, b"9\0001\0001\0"),
        (Op.INTRODUCE, b"1\0001\0"),
        (Op.INTRODUCE, b"1\0001\x000\0"),
        (Op.INTRODUCE, b"0\0001\0001\0"),
        (Op.RELEASE, b"0\0"),
        (Op.RELEASE, b"9\0"),
        (Op.RELEASE, b"x\0"),
        (Op.RESUME, b"1\0"),
        (Op.RESUME, b"9\0"),
        (Op.SET_TARGET, b"1\0002\0"),
        (Op.SET_TARGET, b"1\x009\0"),
        (Op.SET_TARGET, b"1\0"),
        (20, b"\0"),
        (Op.WATCH_EVENT, b"\0"),
        (Op.ERROR, b"\0"),
        (23, b"\0"),
        (128, b""),
        (0xFFFF_FFFF, b""),
    ),
]

RIGHTS = [
    *HOME,
    *[
        Step(guest, op, path + b"\0")
        for guest in (GUEST, SECOND)
        for path in (
            b"/",
            b"/a",
            b"name",
            b"data",
            b"missing",
            b"/a/secret",
            b"/a/secret/missing",
            b"/a/readable",
            b"/a/readable/missing",
            b"/a/writable",
            b"/a/both",
            b"/local/domain/1/name",
            b"/nothing",
        )
        for op in (Op.READ, Op.DIRECTORY, Op.GET_PERMS, Op.WRITE, Op.MKDIR)
    ],
    *of(
        GUEST,
        (Op.WRITE, b"data/new/deep\0x"),
        (Op.GET_PERMS, b"data/new\0"),
        (Op.SET_PERMS, b"data/new\0n1\0r2\0"),
        (Op.SET_PERMS, b"data/new\0n2\0"),
        (Op.SET_PERMS, b"/a/both\0n1\0"),
        (Op.SET_PERMS, b"data\0n1\0n2\0n2\0n2\0n2\0"),
        (Op.SET_PERMS, b"data\0n1\0n2\0n2\0n2\0n2\0n2\0"),
        (Op.WRITE, b"/a/both/new\0x"),
        (Op.GET_PERMS, b"/a/both/new\0"),
        (Op.WRITE, b"/a/writable/new\0x"),
        (Op.RM, b"/a/both\0"),
        (Op.RM, b"/a/secret\0"),
        (Op.RM, b"name\0"),
        (Op.INTRODUCE, b"1\0001\0001\0"),
        (Op.RELEASE, b"2\0"),
        (Op.CONTROL, b"help\0"),
        (Op.IS_DOMAIN_INTRODUCED, b"1\0"),
    ),
    *of(SECOND, (Op.READ, b"/local/domain/1/data/new\0"), (Op.RM, b"/a/writable\0")),
    *of(DOMAIN0, (Op.DIRECTORY, b"/a\0"), (Op.GET_PERMS, b"/a/writable/new\0")),
]

HEARING = [
    *HOME,
    *of(GUEST, (Op.WATCH, b"/\0root\0"), (Op.WATCH, b"data\0data\0")),
    *of(GUEST, (Op.WATCH, b"@introduceDomain\0i\0"), (Op.WATCH, b"/a/secret\0s\0")),
    *of(SECOND, (Op.WATCH, b"/a\0a\0"), (Op.WATCH, b"@releaseDomain\0r\0")),
    *of(
        DOMAIN0,
        (Op.WRITE, b"/a/secret\0x"),
        (Op.WRITE, b"/a/secret/below\0x"),
        (Op.WRITE, b"/a/readable\0x"),
        (Op.WRITE, b"/a/readable/below\0x"),
        (Op.WRITE, b"/a/both\0x"),
        (Op.WRITE, b"/a/both/hidden\0x"),
        (Op.SET_PERMS, b"/a/both/hidden\0n0\0"),
        (Op.WRITE, b"/a/both/hidden\0what the directory's list tells anyway"),
        (Op.WRITE, b"/local/domain/1/data/x\0x"),
        (Op.SET_PERMS, b"/a/readable\0n0\0"),
        (Op.SET_PERMS, b"/a/secret\0r0\0"),
        (Op.TRANSACTION_START, b"\0"),
        (Op.SET_PERMS, b"/a/secret\0n0\0", 1),
        (Op.RM, b"/a/both\0", 1),
        (Op.WRITE, b"/a/both\0new", 1),
        (Op.TRANSACTION_END, b"T\0", 1),
        (Op.RM, b"/a\0"),
        (Op.SET_PERMS, b"@introduceDomain\0n0\0r1\0"),
        (Op.SET_PERMS, b"@releaseDomain\0r0\0"),
        (Op.RM, b"/local/domain/1\0"),
    ),
]

QUOTAS = [
    *HOME,
    *[Step(GUEST, Op.WATCH, b"data\0%d\0" % number) for number in range(131)],
    *[Step(GUEST, Op.TRANSACTION_START, b"\0") for _ in range(13)],
    Step(GUEST, Op.WRITE, b"data/big\0" + b"x" * (2047 - 32)),
    Step(GUEST, Op.WRITE, b"data/big\0" + b"x" * (2048 - 32)),
    Step(GUEST, Op.WRITE, b"data/big\0" + b"x" * (2048 - 32), 1),
    Step(GUEST, Op.TRANSACTION_END, b"T\0", 1),
    Step(GUEST, Op.RESET_WATCHES, b"\0"),
    *[Step(GUEST, Op.MKDIR, b"data/%s%d\0" % (b"n" * 100, number)) for number in range(25)],
    *[Step(GUEST, Op.MKDIR, b"data/0/%d/%d\0" % divmod(number, 40)) for number in range(1010)],
    Step(GUEST, Op.TRANSACTION_START, b"\0"),
    Step(GUEST, Op.WRITE, b"data/0/new\0", 1),
    Step(GUEST, Op.WRITE, b"data/0/new\0", 14),
    Step(GUEST, Op.TRANSACTION_END, b"T\0", 14),
    Step(GUEST, Op.RM, b"data/0/3\0"),
    Step(GUEST, Op.MKDIR, b"data/0/3\0"),
    Step(GUEST, Op.TRANSACTION_START, b"\0"),
    *[Step(GUEST, Op.WRITE, b"data/0/3/%d\0" % number, 15) for number in range(50)],
    Step(GUEST, Op.TRANSACTION_END, b"T\0", 15),
    *[
        Step(GUEST, *request)
        for number in range(16, 66)
        for request in (
            (Op.TRANSACTION_START, b"\0"),
            (Op.WRITE, b"data/0/3/%d\0" % number, number),
            (Op.TRANSACTION_END, b"T\0", number),
        )
    ],
]

DEATH = [
    *HOME,
    *of(DOMAIN0, (Op.WATCH, b"/\0all\0"), (Op.WATCH, b"@releaseDomain\0r\0")),
    *of(GUEST, (Op.WRITE, b"data/mine/deep\0x"), (Op.WRITE, b"/a/both/mine\0x")),
    *of(
        DOMAIN0,
        (Op.SET_PERMS, b"/a/both\0n0\0r1\0"),
        (Op.RELEASE, b"1\0"),
        (Op.GET_PERMS, b"/a/both\0"),
        (Op.DIRECTORY, b"/a/both\0"),
        (Op.DIRECTORY, b"/local/domain/1\0"),
        (Op.IS_DOMAIN_INTRODUCED, b"1\0"),
        (Op.RELEASE, b"1\0"),
    ),
]

SEQUENCES = {
    "everyday requests": EVERYDAY,
    "paths": PATHS,
    "permissions": PERMISSIONS,
    "watches": WATCHES,
    "transactions": TRANSACTIONS,
    "domains": DOMAINS,
    "a guest's rights": RIGHTS,
    "what a guest hears": HEARING,
    "a guest's quotas": QUOTAS,
    "the end of a guest": DEATH,
}
