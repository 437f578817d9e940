/* fault_gzip.c - a gzip file of zeros, without a compressor. */
#include "test/support/fault_inside.h"

#include <string.h>

struct bits {
    unsigned char *bytes;
    size_t bit;
};

/* Huffman codes go in from their highest bit on. */
static void
put_bits(struct bits *bits, unsigned int code, unsigned int count)
{
    while (count-- > 0) {
        if ((code >> count & 1U) != 0) {
            bits->bytes[bits->bit / 8] |=
                (unsigned char)(1U << (bits->bit % 8));
        }
        bits->bit++;
    }
}

static uint32_t
crc_of_zeros(uint64_t count)
{
    uint32_t table[256];
    uint32_t crc = 0xffffffff;

    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++) {
            table[i] = table[i] >> 1 ^ ((table[i] & 1) != 0 ? 0xedb88320 : 0);
        }
    }
    for (; count > 0; count--) {
        crc = table[crc & 0xff] ^ crc >> 8;
    }
    return ~crc;
}

static void
put_number(unsigned char *bytes, uint32_t number)
{
    for (int i = 0; i < 4; i++) {
        bytes[i] = (unsigned char)(number >> (8 * i));
    }
}

/* One block with the fixed codes: zeros one by one, then copies of 258. */
char *
fault_gzip_zeros(uint64_t count, size_t *ret_len)
{
    static const unsigned char head[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
    const uint64_t copies = count > 258 ? (count - 1) / 258 : 0;
    const uint64_t singles = count - copies * 258;
    struct bits bits = {NULL, sizeof(head) * 8};
    size_t end;

    bits.bytes = fault_get(
        sizeof(head) + (size_t)((copies * 13 + singles * 8) / 8) + 16);
    memcpy(bits.bytes, head, sizeof(head));
    put_bits(&bits, 1, 1); /* the last block … */
    put_bits(&bits, 2, 2); /* … with the fixed codes (01, lowest bit first) */
    for (uint64_t i = 0; i < singles; i++) {
        put_bits(&bits, 0x30, 8);
    }
    for (uint64_t i = 0; i < copies; i++) {
        put_bits(&bits, 0xc5, 8); /* length 258 */
        put_bits(&bits, 0, 5);    /* distance 1 */
    }
    put_bits(&bits, 0, 7); /* end of block */
    end = (bits.bit + 7) / 8;
    put_number(bits.bytes + end, crc_of_zeros(count));
    put_number(bits.bytes + end + 4, (uint32_t)count);
    *ret_len = end + 8;
    return (char *)bits.bytes;
}
