// Writes when each kernel of a program began and ended, by CUPTI. A library that the CUDA driver loads:
//
//   CUDA_INJECTION64_PATH=build/libkernel_records.so KERNEL_RECORDS=records.txt bench_step FOLDER --eager 240
//   python3 benchmarks/gpu/step_kernels.py records.txt
//
// One line a kernel in the order of their ends: begin and end in nanoseconds, blocks, mangled name. Not tried
// on CUDA graphs: hence --eager.
#include <cupti.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

namespace {

struct Record {
  uint64_t begin, end;
  int32_t blocks;
  std::string name;
};
std::mutex mutex;
std::vector<Record> records;

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* size, size_t* max_records) {
  *size = size_t{8} << 20;
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, *size));
  *max_records = 0;  // as many as fit
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t bytes) {
  const std::lock_guard lock(mutex);
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, bytes, &record) == CUPTI_SUCCESS) {
    if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
    const auto* kernel = reinterpret_cast<const CUpti_ActivityKernel9*>(record);
    records.push_back(
        {kernel->start, kernel->end, kernel->gridX * kernel->gridY * kernel->gridZ, kernel->name});
  }
  std::free(buffer);
}

void write_records() {
  cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  const char* path = std::getenv("KERNEL_RECORDS");
  std::FILE* file = path ? std::fopen(path, "w") : stderr;
  if (!file) {
    std::perror(path);
    return;
  }
  std::sort(records.begin(), records.end(), [](const Record& a, const Record& b) { return a.end < b.end; });
  for (const Record& r : records) {
    std::fprintf(file, "%llu %llu %d %s\n", static_cast<unsigned long long>(r.begin),
                 static_cast<unsigned long long>(r.end), r.blocks, r.name.c_str());
  }
  if (file != stderr) std::fclose(file);
}

}  // namespace

extern "C" int InitializeInjection() {
  if (cuptiActivityRegisterCallbacks(give_buffer, take_buffer) != CUPTI_SUCCESS ||
      cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) != CUPTI_SUCCESS) {
    std::fputs("kernel_records: CUPTI refuses\n", stderr);
    return 0;
  }
  std::atexit(write_records);
  return 1;
}
