// Pictures as inputs of a proof. See real_inputs.h; the preparation is the task's own.
#include "toolchain/real_inputs.h"

#include "pajamas/error.h"
#include "pajamas/image.h"
#include "tasks/image_pipeline.h"

namespace pajamas {
const ImageInput* picture_input(const TaskFacts& facts) noexcept {
  if (facts.detection) return &facts.detection->image;
  if (facts.classification) return &facts.classification->image;
  return facts.embedding && facts.embedding->image ? &*facts.embedding->image : nullptr;
}

std::vector<std::vector<Tensor>> read_real_inputs(const std::vector<std::filesystem::path>& images,
                                                  const TaskFacts& task, const std::string& part_name,
                                                  const Graph& graph) {
  std::vector<std::vector<Tensor>> sets;
  if (images.empty()) return sets;
  const ImageInput* facts = picture_input(task);
  if (facts == nullptr) {
    throw Error(ErrorKind::kUsage,
                "pictures were given for the proof, but the model's task '" + task.name + "' takes none", {},
                "leave the pictures out, or name the task with --task");
  }
  if (facts->part != part_name) return sets;
  const auto inputs = graph.required_inputs();
  if (inputs.size() != 1 || inputs[0]->name != facts->input || !inputs[0]->type) {
    throw Error(ErrorKind::kUnsupported,
                "pictures cannot be used in the proof: the model has other inputs beside '" + facts->input + "'", {},
                "leave the pictures out");
  }
  const ImagePipeline pipeline(*facts, inputs[0]->type->dtype);
  for (const std::filesystem::path& path : images) {
    const Image image = read_image(path);
    const Placement placement = pipeline.place(image.width_px, image.height_px);
    Tensor tensor(pipeline.dtype(), pipeline.tensor_shape(placement, 1));
    pipeline.write(image, placement, tensor.mutable_bytes());
    sets.push_back({std::move(tensor)});
  }
  return sets;
}

}  // namespace pajamas
