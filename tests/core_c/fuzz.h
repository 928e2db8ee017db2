/* What a fuzzer's input is read as, octet by octet; at its end, zeros. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

struct fuzz_input {
    const uint8_t *octets;
    size_t left;
};

static inline uint32_t fuzz_u8(struct fuzz_input *input) {
    if (input->left == 0) return 0;
    input->left--;
    return *input->octets++;
}

static inline uint32_t fuzz_u16(struct fuzz_input *input) {
    uint32_t low = fuzz_u8(input);
    return low | fuzz_u8(input) << 8;
}

static inline uint32_t fuzz_u32(struct fuzz_input *input) {
    uint32_t low = fuzz_u16(input);
    return low | fuzz_u16(input) << 16;
}

/* An invariant that does not hold is a crash, which the fuzzer keeps. */
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) __builtin_trap();                                                        \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t count);

#endif
