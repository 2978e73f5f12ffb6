// Where products in 8-bit floats pay: their time on this device beside that of the same products in 16 bits, with what
// quantises in front of them. Times come from the timing cache and go there, as those of kernels do.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "targets/cuda/runtime/engine_builder.h"

namespace pajamas::cuda {

/// Steps that can only be decided together (product_groups.h). Products, whose weights come from memory and whose rows
/// were just written, count by the mean of their cold and their warm time, loops by the warm one: by the mean of all,
/// what quantises attention's result looked half a microsecond a layer slower than 16 bits in Whisper large on an H200,
/// and was a microsecond faster in the plan.
struct ProductTimes {
  std::vector<std::string> activations;  ///< Values of the model that are quantised.
  double small_us = 0;                   ///< In 8-bit floats.
  double wide_us = 0;                    ///< In the model's own type.
};

struct ProductComparison {
  std::vector<ProductTimes> groups;
  TimingCache timing;  ///< What was compared by.
  /// The activations of the groups that are faster in the model's own type.
  std::vector<std::string> not_worth_it() const;
};

/// `model`: lowered and quantised by quantize_products. Times what `cache` lacks of it and of the same model without
/// its pairs, at the profile's usual shapes, and adds it there. Throws as build_engine.
ProductComparison compare_products(const std::shared_ptr<DeviceContext>& device, const Model& model,
                                   const BuildEngineOptions& options, TimingCache& cache);

/// {"groups": [{"activations", "small_us", "wide_us"}], "not_worth_it": [activations]}: facts of the engine.
nlohmann::json to_json(const ProductComparison& comparison);

}  // namespace pajamas::cuda
