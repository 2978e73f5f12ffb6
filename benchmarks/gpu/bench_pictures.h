// From picture bytes in memory to boxes through a detector's engine on this GPU: what gpu_bench --pictures measures.
#pragma once

#include <nlohmann/json.hpp>

#include "bench_model.h"

namespace pajamas::gpu_bench {

struct PictureOptions {
  int width_px = 1280, height_px = 720;
  int num_runs = 500;
  int num_streams = 8;
  std::filesystem::path file;  ///< A picture of one's own instead of made ones.
};

/// GPU time of placing one frame on a canvas of 640 × 640 and of finding boxes in 8,400 × (4 + 80) values, alone and
/// together in one graph, for few and many candidates.
nlohmann::json measure_frame_kernels(const PictureOptions& options, int num_replays);

/// Verifies that the pipeline gives the host's boxes for the same pixels, then measures bytes to boxes: single pictures
/// one after the other by each JPEG decoder there is and over the host's way, many at once, and several streams. The
/// model must give YOLO's boxes of any version. Throws Error{kUnsupported} where it does not, or where it is wrong.
nlohmann::json measure_pictures(const Prepared& prepared, const PictureOptions& options);

/// One line for each figure.
void print_frame_kernels(const nlohmann::json& report);
void print_pictures(const nlohmann::json& report);

}  // namespace pajamas::gpu_bench
