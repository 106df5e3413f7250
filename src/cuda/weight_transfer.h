// Pieces of a checkpoint from files or memory to their places on the device.
#pragma once

#include <vector>

#include "cuda/weight_pieces.h"

namespace outrider::cuda {

struct TransferOptions {
  int readers = 10;   // threads: more of them slow each other down
  int in_flight = 4;  // pieces between host and device
  int ahead = 4;      // pieces that are read and wait, so that a slow read stops neither readers nor copies
};

// Every piece once; generated weights are made on the device. Returns when all are there. Throws StartupError
// for a file that cannot be read, DeviceError for the device.
void transfer(const std::vector<Piece>& pieces, const model::Weights& weights,
              const TransferOptions& options = {});

}  // namespace outrider::cuda
