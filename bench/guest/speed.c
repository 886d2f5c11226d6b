/*
 * The speed guest: nine everyday kinds of work, one after the other, integer only. Each prints its digit, its result
 * and the ticks it took; the last line is a checksum over all results. SCALE multiplies the work: 1 is about
 * 0.23 G instructions, 10 about 2.2 G.
 */
#ifndef SCALE
#define SCALE 1
#endif

typedef unsigned char byte;
typedef unsigned int word;
typedef unsigned long quad;

#define PHASE __attribute__((noinline)) static quad
#define HELPER __attribute__((noinline)) static

extern quad ticks(void);

static byte text[(1 << 20) + 37 * 4096];
static byte copy[(1 << 20) + 61 * 4096];

/* xorshift: shifts 13, 7, 17 (Marsaglia 2003) */
static quad random_state = 88172645463325252ul;
HELPER quad next_random(void)
{
    quad r = random_state;
    r ^= r << 13;
    r ^= r >> 7;
    r ^= r << 17;
    random_state = r;
    return r;
}

/* 1: CRC-32 by table */
static word crc_table[256];
PHASE crc(int rounds)
{
    for (word n = 0; n < 256; n++) {
        word c = n;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        crc_table[n] = c;
    }
    word c = ~0u;
    for (int r = 0; r < rounds; r++)
        for (word i = 0; i < 65536; i++)
            c = crc_table[(c ^ text[i]) & 255] ^ (c >> 8);
    return ~c;
}

/* 2: sieve of Eratosthenes, one byte a number */
PHASE sieve(int rounds)
{
    const word limit = 1u << 19;
    quad primes = 0;
    for (int r = 0; r < rounds; r++) {
        primes = 0;
        for (word i = 0; i < limit; i++)
            copy[i] = 1;
        for (word i = 2; i * i < limit; i++)
            if (copy[i])
                for (word k = i * i; k < limit; k += i)
                    copy[k] = 0;
        for (word i = 2; i < limit; i++)
            primes += copy[i];
    }
    return primes;
}

/* 3: quicksort */
static word numbers[1 << 16];
HELPER void sort(word *a, long low, long high)
{
    if (low >= high)
        return;
    word pivot = a[(low + high) >> 1];
    long i = low, k = high;
    while (i <= k) {
        while (a[i] < pivot)
            i++;
        while (a[k] > pivot)
            k--;
        if (i <= k) {
            word t = a[i];
            a[i] = a[k];
            a[k] = t;
            i++;
            k--;
        }
    }
    sort(a, low, k);
    sort(a, i, high);
}
PHASE sorting(int rounds)
{
    quad sum = 0;
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < 65536; i++)
            numbers[i] = (word)next_random();
        sort(numbers, 0, 65535);
        for (int i = 0; i < 65536; i += 97)
            sum = sum * 31 + numbers[i];
    }
    return sum;
}

/* 4: strings: copy by quads, length, compare */
HELPER void copy_bytes(byte *to, const byte *from, quad n)
{
    for (; n >= 16; n -= 16, to += 16, from += 16) {
        ((quad *)to)[0] = ((const quad *)from)[0];
        ((quad *)to)[1] = ((const quad *)from)[1];
    }
    while (n--)
        *to++ = *from++;
}
HELPER quad length(const byte *s)
{
    const byte *end = s;
    while (*end)
        end++;
    return end - s;
}
HELPER int compare(const byte *a, const byte *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a - *b;
}
PHASE strings(int rounds)
{
    byte *from = text + 131072, *to = copy + 131072;
    quad sum = 0;
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < 4096; i++)
            from[i] = 1 + (next_random() & 127);
        from[4095] = 0;
        for (int k = 0; k < 64; k++) {
            copy_bytes(to, from + (k & ~7), 4096);
            sum += length(to);
            sum += compare(to, from + (k & ~7));
            copy_bytes(copy + 262144, text, 65536);
        }
    }
    return sum;
}

/* 5: hashing, 64-bit multiplies and their high halves (xorshift64*, shifts 12, 25, 27) */
PHASE hashing(int rounds)
{
    quad h = 0x9e3779b97f4a7c15ul, x = 1;
    for (int i = 0; i < rounds * 100000; i++) {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        quad m = x * 0x2545f4914f6cdd1dul;
        h ^= m + (h << 6) + (h >> 2);
        h = (h << 31) | (h >> 33);
        h = (quad)(((unsigned __int128)h * 0xff51afd7ed558ccdul) >> 64) ^ h * 3;
    }
    return h;
}

/* 6: an interpreter of its own: a switch, and calls through pointers */
HELPER quad plus(quad a, quad b) { return a + b; }
HELPER quad mix(quad a, quad b) { return a ^ (b << 3); }
HELPER quad times(quad a, quad b) { return a * b + 1; }
HELPER quad minus(quad a, quad b) { return a - b; }
static quad (*const functions[4])(quad, quad) = { plus, mix, times, minus };
PHASE interpreter(int rounds)
{
    static byte program[256];
    quad a = 1, b = 2, c = 3, stack[16];
    word top = 0;
    for (int i = 0; i < 256; i++)
        program[i] = next_random() % 10;
    for (int i = 0; i < 16; i++)
        stack[i] = i;
    for (int r = 0; r < rounds * 100; r++)
        for (int at = 0; at < 256; at++)
            switch (program[at]) {
            case 0: a += b; break;
            case 1: b ^= a >> 3; break;
            case 2: c = a * b; break;
            case 3: stack[top++ & 15] = a; break;
            case 4: b += stack[--top & 15]; break;
            case 5: if (a & 1) c++; else b--; break;
            case 6: a = (a << 7) | (a >> 57); break;
            case 7: a = functions[b & 3](a, c); break;
            case 8: b = functions[c & 3](b, a); break;
            case 9: c = a < b ? c + 1 : (quad)((long)c >> 1); break;
            }
    return a ^ b ^ c;
}

/* 7: a hash table of linked lists */
struct entry {
    struct entry *next;
    quad key, value;
};
static struct entry entries[8192], *buckets[1024];
PHASE lists(int rounds)
{
    quad sum = 0;
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < 1024; i++)
            buckets[i] = 0;
        for (int i = 0; i < 8192; i++) {
            quad key = next_random() & 0xffff;
            struct entry *e = &entries[i];
            e->key = key;
            e->value = i;
            e->next = buckets[key & 1023];
            buckets[key & 1023] = e;
        }
        for (int i = 0; i < 16384; i++) {
            quad key = next_random() & 0xffff;
            for (struct entry *e = buckets[key & 1023]; e; e = e->next)
                if (e->key == key) {
                    sum += e->value;
                    break;
                }
        }
    }
    return sum;
}

/* 8: matrices of 64 x 64, and divisions */
static int left[64 * 64], right[64 * 64], product[64 * 64];
PHASE matrices(int rounds)
{
    quad sum = 0;
    for (int i = 0; i < 64 * 64; i++) {
        left[i] = i * 7 % 31;
        right[i] = i * 5 % 17 - 8;
    }
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < 64; i++)
            for (int k = 0; k < 64; k++) {
                int t = 0;
                for (int n = 0; n < 64; n++)
                    t += left[i * 64 + n] * right[n * 64 + k];
                product[i * 64 + k] = t;
            }
        for (int i = 0; i < 4096; i++)
            sum += product[i] % (i + 3) + sum / (i + 7);
    }
    return sum;
}

/* 9: recursion */
quad fibonacci(quad n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

/* The UART of QEMU's virt machine. */
#ifdef __x86_64__
/* the 16550 at 3F8h */
HELPER void put(int c) { __asm__ volatile("outb %b0, %w1" : : "a"(c), "d"(0x3f8)); }
#else
/* the PL011 of the `virt` machine */
HELPER void put(int c) { *(volatile word *)0x09000000ul = c; }
#endif
HELPER void put_hex(quad v)
{
    for (int shift = 60; shift >= 0; shift -= 4) {
        int digit = (v >> shift) & 15;
        put(digit < 10 ? '0' + digit : 'a' + digit - 10);
    }
}
HELPER void report(char name, quad result, quad spent)
{
    put(name);
    put(' ');
    put_hex(result);
    put(' ');
    put_hex(spent);
    put('\n');
}

void main(void)
{
    quad total = 0, begin = ticks(), started, result;
    for (int i = 0; i < 65536; i++)
        text[i] = next_random();
#define RUN(name, call) \
    started = ticks(); \
    result = call; \
    report(name, result, ticks() - started); \
    total = total * 1000003 + result;
    RUN('1', crc(50 * SCALE))
    RUN('2', sieve(5 * SCALE))
    RUN('3', sorting(2 * SCALE))
    RUN('4', strings(12 * SCALE))
    RUN('5', hashing(12 * SCALE))
    RUN('6', interpreter(60 * SCALE))
    RUN('7', lists(10 * SCALE))
    RUN('8', matrices(14 * SCALE))
    RUN('9', fibonacci(29) * SCALE)
    report('T', total, ticks() - begin);
}
