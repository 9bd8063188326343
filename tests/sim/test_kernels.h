// Launchers of the test kernels (ops_kernels.cu, matrix_kernels.cu, bug_kernels.cu).
#pragma once
#ifdef __cplusplus
extern "C" {
#endif

void run_collatz(int *y, const int *x, int n);
void run_group_reduce(float *y, const float *x, int n);
void run_local(float *y, const float *x, int k);
void run_switch(int *y, const int *x);
void run_math(float *y, const float *x);
void run_warp(unsigned *y, const unsigned *x);
void run_call(double *y, const float *x, const float *c);
void run_print(int k);
void run_named(int *y);
void run_count(int *y, const int *x);
void run_atomic(unsigned *u, int *s, float *f, double *d, unsigned long long *l);
void run_spin(int *flag, int *y, int blocks);
void run_carried(int *y, const int *x, int n);

// bug: 0 = none, else the planted one (bug_kernels.cu)
void run_tile(float *C, const float *A, const float *B, int M, int N, int K, int bug);
void run_lanes(float *y, const float *x, int bug);
void run_last(float *y, float *part, unsigned *count, const float *x, int n, int blocks, int bug);
void run_pipe(float *y, const float *x, int tiles, int bug);
void run_bins(unsigned *h, const unsigned *x, int n, int bug);
void run_halves(unsigned short *y, int each, int bug);
void run_hand(int *y, int bug);
void run_ring(float *y, const float *x, int tiles, int bug);
void run_chain(int *y, int *parts, int *flags, int blocks, int bug);
void run_fault(int *y, int *flag, int bug);
void run_add(int *y, const int *x, int n, int k, void *stream);

void run_matrices(unsigned short *y, unsigned *registers, const unsigned short *x, int n, int trans_load,
                  int trans_store);
void run_movmatrix(unsigned *y, const unsigned *x);
void run_copies(unsigned char *y, const unsigned char *x, int some);
void run_gemm(float *C, const void *A, const void *B, int M, int N, int K);

#ifdef __cplusplus
}
#endif
