// The parts of the vision benchmark, one file each. Every part adds its rows to the report and verifies first.
#pragma once

#include <filesystem>
#include <string>

#include "base/cancel.h"
#include "bench/report.h"

namespace pajamas::benchmark {

struct Settings {
  std::filesystem::path models;   ///< Folder of the .onnx files.
  std::filesystem::path bundles;  ///< Folder of <model>_<precision>: the bundles that `run` built.
  double seconds = 5;             ///< Of each contender.
  int num_threads = 0;            ///< Of both contenders; 0: as many as there are usable CPUs.
  Progress progress{};
};

/// OpenVINO bundles against ONNX Runtime on the untouched file, in turns: FP32 and default precision.
void add_peer_rows(const Settings& settings, Report& report);

/// JPEG to boxes without inference, and NMS alone, on the calling thread.
void add_picture_rows(const Settings& settings, Report& report);

/// Import and passes on one file in this process: time, and peak memory against the size of the file. Prints JSON
/// {"time_ms", "peak_bytes", "file_bytes", "num_nodes"} to stdout: each measurement needs a process of its own.
void print_import_measurement(const std::filesystem::path& model);

}  // namespace pajamas::benchmark
