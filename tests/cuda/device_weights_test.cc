#include "cuda/device_weights.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "checkpoint/load.h"
#include "cpu/safetensors_reader.h"
#include "cuda/expected_weights.h"
#include "cuda/needs_gpu.h"
#include "cuda/shrunk_checkpoint.h"
#include "cuda/weight_layout.h"
#include "cuda/weight_transfer.h"

namespace outrider::cuda {
namespace {

const ExpectedWeights kOnDevice([](void* to, const void* from, size_t bytes) {
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "copy");
});

constexpr const char* kCheckpoints[] = {"tiny-a-bf16", "tiny-a-fp8", "tiny-a-fp8-mm-legacy",
                                        "tiny-a-fp8-perexpert"};

TEST(DeviceWeights, hold_the_bytes_of_every_layout_of_the_checkpoint) {
  NEEDS_GPU();
  for (const char* name : kCheckpoints) {
    SCOPED_TRACE(name);
    const model::Model host = checkpoint::load(test::fixture(std::string("checkpoints/") + name), {});
    kOnDevice.expect(host, upload(host));
  }
}

TEST(DeviceWeights, hold_them_whatever_the_pieces_and_however_many_are_on_their_way) {
  NEEDS_GPU();
  for (const char* name : kCheckpoints) {
    const model::Model host = checkpoint::load(test::fixture(std::string("checkpoints/") + name), {});
    const int64_t bytes = lay_out(host, nullptr, 1).bytes;
    for (const int64_t piece_bytes : {1, 5000, 1 << 20}) {
      for (const TransferOptions& options : {TransferOptions{1, 1, 0}, {3, 2, 1}, {12, 5, 7}}) {
        SCOPED_TRACE(testing::Message() << name << ", " << piece_bytes << " bytes, " << options.readers);
        DeviceBuffer memory(bytes);
        check(cudaMemset(memory.as<void>(), 0xff, memory.bytes()), "poison");
        check(cudaDeviceSynchronize(), "poison");
        const WeightLayout layout = lay_out(host, memory.as<uint8_t>(), piece_bytes);
        transfer(layout.pieces, host.weights, options);
        kOnDevice.expect(host, layout.weights);
      }
    }
  }
}

TEST(DeviceWeights, dummy_weights_made_on_the_device_are_those_of_the_host) {
  NEEDS_GPU();
  for (const char* form : {"", "modelopt"}) {
    SCOPED_TRACE(form);
    checkpoint::LoadOptions options;
    options.format = checkpoint::LoadFormat::kDummy;
    options.quantization = form;
    options.seed = 3;
    const std::string folder = test::fixture(*form ? "checkpoints/tiny-a-fp8" : "checkpoints/tiny-a-bf16");
    const model::Model host = checkpoint::load(folder, options);
    options.write_dummy = false;
    kOnDevice.expect(host, upload(checkpoint::load(folder, options)));
    kOnDevice.expect(host, upload(host));  // from memory
  }
}

TEST(DeviceWeights, a_file_that_shrinks_under_the_loader_ends_it_with_a_line_and_the_next_load_is_right) {
  NEEDS_GPU();
  const ShrunkCheckpoint shrunk;
  EXPECT_THROW(upload(shrunk.model()), StartupError);
  const model::Model host = checkpoint::load(test::fixture("checkpoints/tiny-a-fp8"), {});
  kOnDevice.expect(host, upload(host));
}

}  // namespace
}  // namespace outrider::cuda
