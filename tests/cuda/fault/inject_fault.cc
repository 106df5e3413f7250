// A library to preload into the server: on SIGUSR1 it launches a kernel that stores to address 0 in the
// process's CUDA context, as a broken kernel of the server's own would. What follows is real: the context is
// lost, and every CUDA call says so.
#include <cuda.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>

#include <cstdio>
#include <thread>

namespace {

constexpr char kStoreToNull[] =
    ".version 8.0\n.target sm_90\n.address_size 64\n"
    ".visible .entry store_to_null() { .reg .u64 %a; mov.u64 %a, 0; st.global.u32 [%a], 1; ret; }\n";

template <typename F>
F find(void* driver, const char* name) {
  return reinterpret_cast<F>(dlsym(driver, name));
}

void launch_fault() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  if (!driver) return;
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUmodule module = nullptr;
  CUfunction kernel = nullptr;
  CUresult status = find<decltype(&cuDeviceGet)>(driver, "cuDeviceGet")(&device, 0);
  if (status == CUDA_SUCCESS)
    status = find<decltype(&cuDevicePrimaryCtxRetain)>(driver, "cuDevicePrimaryCtxRetain")(&context, device);
  if (status == CUDA_SUCCESS) status = find<decltype(&cuCtxSetCurrent)>(driver, "cuCtxSetCurrent")(context);
  if (status == CUDA_SUCCESS)
    status = find<decltype(&cuModuleLoadData)>(driver, "cuModuleLoadData")(&module, kStoreToNull);
  if (status == CUDA_SUCCESS)
    status =
        find<decltype(&cuModuleGetFunction)>(driver, "cuModuleGetFunction")(&kernel, module, "store_to_null");
  if (status == CUDA_SUCCESS)
    status = find<decltype(&cuLaunchKernel)>(driver, "cuLaunchKernel")(kernel, 1, 1, 1, 1, 1, 1, 0, nullptr,
                                                                       nullptr, nullptr);
  std::fprintf(stderr, "inject_fault: launched with status %d\n", static_cast<int>(status));
}

// Blocked before any other thread exists, so that only the waiting one gets the signal.
__attribute__((constructor)) void wait_for_signal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals] {
    int received = 0;
    if (sigwait(&signals, &received) == 0) launch_fault();
  }).detach();
}

}  // namespace
