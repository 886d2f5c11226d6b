/* A bare-metal executable with a symbol, initialised data and BSS: what the loader must put where. */
extern char stack_top[];
unsigned long counter = 0x1122334455667788ul;
char table[5000];
const char text[] = "faultyard";
__attribute__((section(".text.start"), naked)) void start(void) { __asm__("b ."); }
unsigned long use(void) { return counter + (unsigned long)table[7] + (unsigned long)text[0]; }
