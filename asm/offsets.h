/* The offsets of the fields of G and M that assembly reads, and constants that
 * assembly and Rust share. This file is their only source: build.rs copies
 * them into Rust, where src/gmp/mod.rs compares them with offset_of! at
 * compile time. */

/* struct G */
#define G_STACK_LO 0
#define G_STACK_HI 8
#define G_STACKGUARD0 16
#define G_STACKGUARD1 24
#define G_SCHED_SP 32
#define G_M 40

/* struct M */
#define M_G0 0
#define M_CURG 8
#define M_TLS 24

/* The frame of a suspended context, from its lowest address: two control
 * words, then the registers; see switch_amd64.S. */
#define FRAME_MXCSR 0
#define FRAME_FPUCW 4
#define FRAME_R15 8
#define FRAME_R14 16
#define FRAME_R13 24
#define FRAME_R12 32
#define FRAME_RBX 40
#define FRAME_RBP 48
#define FRAME_RIP 56
#define FRAME_SIZE 64

/* The control bits of MXCSR, and the control words that a goroutine begins
 * with: all exceptions masked, rounding to nearest, 64 bits of mantissa. */
#define MXCSR_CONTROL 0xffc0
#define MXCSR_FIRST 0x1f80
#define FPUCW_FIRST 0x37f

/* Bytes that gostart leaves free at the top of the stack, a multiple of 16. */
#define GOSTART_SPACE 112

/* Where the frame of gmprt_call has its record; see call_amd64.S. */
#define CALL_MARK 8

/* Bytes that stackguard0 lies above stack.lo. */
#define STACK_GUARD 928
