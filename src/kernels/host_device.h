// Marks functions that run on both sides, so that tests on the host check the arithmetic that kernels do.
#pragma once

#ifdef __CUDACC__
#define PAJAMAS_HOST_DEVICE __host__ __device__
#else
#define PAJAMAS_HOST_DEVICE
#endif
