// Tests of checkpoint folders that are damaged, incomplete or unknown: each is refused by file, key or tensor. The
// folders are copies of the goldens (tests/data/huggingface), changed in one place. What good ones compute is tested in
// tests/models/checkpoint_test.cpp.
#include "models/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "base/files.h"
#include "models/image_processor.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class CheckpointFolder : public testing::Test {
 protected:
  void take(const std::string& name) {
    fs::remove_all(folder_);
    fs::copy(fs::path(PAJAMAS_TEST_DATA) / "huggingface" / name, folder_, fs::copy_options::recursive);
    for (const auto& entry : fs::directory_iterator(folder_)) {
      fs::permissions(entry.path(), fs::perms::owner_write, fs::perm_options::add);
    }
  }
  nlohmann::json read(const std::string& file) { return nlohmann::json::parse(read_file(folder_ / file)); }
  void write(const std::string& file, const nlohmann::json& json) {
    write_file(folder_ / file, std::string_view(json.dump()));
  }
  void set(const std::string& key, const nlohmann::json& value) {
    auto config = read("config.json");
    config[nlohmann::json::json_pointer(key)] = value;
    write("config.json", config);
  }
  void expect_error(ErrorKind kind, const std::vector<std::string>& texts, const ImportHints& hints = {}) {
    try {
      load_checkpoint_folder(folder_, hints);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      for (const std::string& text : texts) EXPECT_THAT(error.what(), HasSubstr(text));
    }
  }
  const test::TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

TEST_F(CheckpointFolder, NamesMissingAndMisshapenTensors) {
  take("vit_classifier");
  set("/num_hidden_layers", 3);
  expect_error(ErrorKind::kBadInput, {"vit.encoder.layer.2.layernorm_before.weight", "[24]", "missing"});
  take("vit_classifier");
  set("/intermediate_size", 41);
  expect_error(ErrorKind::kBadInput, {"vit.encoder.layer.0.intermediate.dense.weight", "[40, 24]", "[41, 24]"});
  take("vit_classifier");
  set("/image_size", 40);
  expect_error(ErrorKind::kBadInput, {"position_embeddings", "[1, 26, 24]"});
  take("resnet_basic");
  set("/depths", {2, 2});
  expect_error(ErrorKind::kBadInput, {"resnet.encoder.stages.0.layers.1.layer.0.convolution.weight"});
  take("clip");
  set("/projection_dim", 19);
  expect_error(ErrorKind::kBadInput, {"visual_projection.weight", "[19, 24]"});
}

TEST_F(CheckpointFolder, RefusesUnknownValuesByKey) {
  take("vit_classifier");
  set("/hidden_act", "maxout");
  expect_error(ErrorKind::kUnsupported, {"hidden_act", "maxout", "quick_gelu"});
  take("vit_classifier");
  set("/num_attention_heads", 5);
  expect_error(ErrorKind::kBadInput, {"num_attention_heads"});
  set("/num_attention_heads", 0);
  expect_error(ErrorKind::kBadInput, {"num_attention_heads"});
  set("/num_attention_heads", "three");
  expect_error(ErrorKind::kBadInput, {"num_attention_heads"});
  take("vit_classifier");
  set("/architectures", {"ViTForMaskedImageModeling"});
  expect_error(ErrorKind::kUnsupported, {"ViTForMaskedImageModeling", "ViTModel"});
  take("vit_classifier");
  set("/num_channels", 1);
  expect_error(ErrorKind::kBadInput, {"num_channels"});
  take("vit_classifier");
  set("/patch_size", 64);
  expect_error(ErrorKind::kBadInput, {"patch_size"});
  take("resnet_basic");
  set("/layer_type", "inverted");
  expect_error(ErrorKind::kBadInput, {"layer_type", "inverted"});
  take("clip");
  set("/architectures", {"CLIPForImageClassification"});
  expect_error(ErrorKind::kUnsupported, {"CLIPForImageClassification"});
  take("clip");
  set("/text_config/eos_token_id", 5);
  expect_error(ErrorKind::kBadInput, {"eos_token_id", "5"});
  take("vit_classifier");
  set("/model_type", "bert");
  expect_error(ErrorKind::kUnsupported, {"bert"});
}

TEST_F(CheckpointFolder, NamesTheFileThatIsMissingOrDamaged) {
  take("clip");
  fs::remove(folder_ / "merges.txt");
  expect_error(ErrorKind::kBadInput, {"merges.txt", folder_.string()});
  take("vit_classifier");
  fs::remove(folder_ / "config.json");
  expect_error(ErrorKind::kBadInput, {"config.json"});
  write_file(folder_ / "config.json", std::string_view("{\"model_type\": \"vit\""));
  expect_error(ErrorKind::kBadInput, {"config.json"});
  write_file(folder_ / "config.json", std::string_view("[]"));
  expect_error(ErrorKind::kBadInput, {"config.json"});
  take("vit_classifier");
  const std::string weights = read_file(folder_ / "model.safetensors");
  write_file(folder_ / "model.safetensors", std::string_view(weights).substr(0, weights.size() / 2));
  expect_error(ErrorKind::kBadInput, {"model.safetensors", "truncated"});
  fs::remove(folder_ / "model.safetensors");
  expect_error(ErrorKind::kBadInput, {"model.safetensors"});
  take("vit_pooler");
  fs::remove(folder_ / "model-00002-of-00004.safetensors");
  expect_error(ErrorKind::kBadInput, {"model-00002-of-00004.safetensors"});
}

TEST_F(CheckpointFolder, TakesTokenizerJsonWhereTheOtherTokenizerFilesAreMissing) {
  take("clip");
  const auto usual = load_checkpoint_folder(folder_, {});
  nlohmann::json merges = nlohmann::json::array();
  std::istringstream lines(read_file(folder_ / "merges.txt"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && !line.starts_with("#version")) merges.push_back(line);
  }
  nlohmann::json tokenizer{{"added_tokens", nlohmann::json::array()},
                           {"model",
                            {{"type", "BPE"},
                             {"continuing_subword_prefix", ""},
                             {"end_of_word_suffix", "</w>"},
                             {"vocab", read("vocab.json")},
                             {"merges", merges}}}};
  write("tokenizer.json", tokenizer);
  EXPECT_EQ(load_checkpoint_folder(folder_, {}).files.size(), usual.files.size());  // not needed, so not taken
  fs::remove(folder_ / "vocab.json");
  fs::remove(folder_ / "merges.txt");
  const auto single = load_checkpoint_folder(folder_, {});
  ASSERT_EQ(single.files.size() + 1, usual.files.size());
  const ClipTextInput& text = single.task.embedding.value().text.value();
  EXPECT_EQ(text.vocab_file, "tokenizer.json");
  EXPECT_EQ(text.merges_file, "tokenizer.json");
  EXPECT_EQ(text.pad_token_id, usual.task.embedding.value().text.value().pad_token_id);
  EXPECT_EQ(std::count_if(single.files.begin(), single.files.end(),
                          [](const ImportedFile& file) { return file.name == "tokenizer.json"; }),
            1);
  tokenizer["model"]["type"] = "WordPiece";
  write("tokenizer.json", tokenizer);
  expect_error(ErrorKind::kUnsupported, {"tokenizer.json", "WordPiece"});
  tokenizer["model"]["type"] = "BPE";
  tokenizer["model"]["end_of_word_suffix"] = nullptr;
  write("tokenizer.json", tokenizer);
  expect_error(ErrorKind::kUnsupported, {"tokenizer.json", "</w>"});
  write("tokenizer.json", nlohmann::json::array());
  expect_error(ErrorKind::kBadInput, {"tokenizer.json"});
}

TEST_F(CheckpointFolder, RefusesHintsThatDoNotFit) {
  ImportHints hints;
  take("vit_classifier");
  hints.labels = {"a", "b"};
  expect_error(ErrorKind::kUsage, {"--labels", "2 class names", "3 classes"}, hints);
  hints.labels = {"a", "b", "c"};
  EXPECT_THAT(load_checkpoint_folder(folder_, hints).task.classification->labels, ElementsAre("a", "b", "c"));
  hints = {};
  hints.head = "yolov8";
  expect_error(ErrorKind::kUsage, {"--head"}, hints);
  hints = {};
  hints.task = "detection";
  expect_error(ErrorKind::kUsage, {"--task"}, hints);
  hints.task = "none";
  EXPECT_EQ(load_checkpoint_folder(folder_, hints).task.name, "none");
  take("vit_pooler");
  hints.task = "classification";
  expect_error(ErrorKind::kBadInput, {"no classifier"}, hints);
  take("vit_classifier");
  auto config = read("config.json");
  config["id2label"]["7"] = "one too many";
  write("config.json", config);
  expect_error(ErrorKind::kBadInput, {"id2label", "7"});
}

TEST_F(CheckpointFolder, CountsTensorsThatNobodyReads) {
  take("vit_classifier");
  Checkpoint checkpoint(folder_);
  (void)checkpoint.weight("classifier.bias", Shape{3});
  const std::size_t num_unused = checkpoint.unused().size();
  checkpoint.ignore("classifier.weight");
  EXPECT_EQ(checkpoint.unused().size(), num_unused - 1);
  EXPECT_THAT(checkpoint.unused(), testing::Not(testing::Contains("classifier.bias")));
}

TEST_F(CheckpointFolder, TransposesLinearWeights) {
  take("vit_classifier");
  Checkpoint checkpoint(folder_);
  const Tensor weight = checkpoint.weight("classifier.weight", Shape{3, 24});
  const Tensor transposed = checkpoint.transposed_weight("classifier.weight", 24, 3);
  ASSERT_EQ(transposed.shape(), (Shape{24, 3}));
  for (std::size_t row = 0; row < 3; ++row) {
    for (std::size_t column = 0; column < 24; ++column) {
      EXPECT_EQ(transposed.as<float>()[column * 3 + row], weight.as<float>()[row * 24 + column]);
    }
  }
}

class ImageProcessor : public CheckpointFolder {
 protected:
  ImageInput read_input(const nlohmann::json& json) {
    write("preprocessor_config.json", json);
    ImageInput fallback;
    fallback.width_px = fallback.height_px = 224;
    return read_image_processor(folder_, fallback);
  }
  void expect_refused(const nlohmann::json& json, const std::string& text) {
    try {
      read_input(json);
      ADD_FAILURE() << "accepted: " << json.dump();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  }
};

TEST_F(ImageProcessor, ReadsTheSpellingsOfTheYears) {
  // ViT, 2021: a bare number is both sides.
  auto image = read_input({{"feature_extractor_type", "ViTFeatureExtractor"}, {"size", 384}, {"resample", 2}});
  EXPECT_EQ(image.resize, ImageInput::Resize::kStretch);
  EXPECT_EQ(image.height_px, 384);
  EXPECT_TRUE(image.is_antialiased);
  // CLIP, 2021: a bare number is the shortest edge, the crop a number too.
  image = read_input({{"feature_extractor_type", "CLIPFeatureExtractor"},
                      {"size", 224},
                      {"crop_size", 200},
                      {"do_center_crop", true},
                      {"resample", 3}});
  EXPECT_EQ(image.resize, ImageInput::Resize::kShortestEdge);
  EXPECT_EQ(image.resize_px, 224);
  EXPECT_EQ(image.width_px, 200);
  EXPECT_EQ(image.interpolation, ImageInput::Interpolation::kBicubic);
  // ResNet: ConvNext's crop below 384, and none from there on.
  image = read_input({{"feature_extractor_type", "ConvNextFeatureExtractor"}, {"size", 224}, {"crop_pct", 0.875}});
  EXPECT_EQ(image.resize_px, 256);
  EXPECT_EQ(image.width_px, 224);
  image = read_input({{"image_processor_type", "ConvNextImageProcessor"}, {"size", {{"shortest_edge", 384}}}});
  EXPECT_EQ(image.resize, ImageInput::Resize::kStretch);
  EXPECT_EQ(image.width_px, 384);
}

TEST_F(ImageProcessor, FoldsTheRescaleFactorIntoMeanAndStd) {
  const std::vector<double> half{0.5, 0.5, 0.5};
  auto image = read_input({{"rescale_factor", 1.0 / 127.5}, {"image_mean", {1, 1, 1}}, {"image_std", {1, 1, 1}}});
  // pixel / 127.5 - 1 = (pixel / 255 - 0.5) / 0.5
  EXPECT_DOUBLE_EQ(image.mean[0], 0.5);
  EXPECT_DOUBLE_EQ(image.std[0], 0.5);
  image = read_input({{"do_normalize", false}, {"image_mean", half}, {"image_std", half}});
  EXPECT_DOUBLE_EQ(image.mean[0], 0.0);
  EXPECT_DOUBLE_EQ(image.std[0], 1.0);
  image = read_input({{"do_rescale", false}, {"do_normalize", false}});
  EXPECT_DOUBLE_EQ(1.0 / image.std[0], 255.0);
}

TEST_F(ImageProcessor, RefusesWhatItCannotDoByKey) {
  expect_refused({{"resample", 1}}, "resample");
  expect_refused({{"do_resize", false}}, "do_resize");
  expect_refused({{"size", {{"shortest_edge", 800}, {"longest_edge", 1333}}}}, "size");
  expect_refused({{"size", {{"height", 256}, {"width", 256}}}, {"do_center_crop", true}, {"crop_size", 224}}, "size");
  expect_refused({{"image_std", {0, 1, 1}}}, "image_std");
  expect_refused({{"image_mean", {0, 1}}}, "image_mean");
  expect_refused({{"size", -1}}, "size");
  expect_refused({{"size", {{"height", 5}}}}, "width");
  expect_refused(nlohmann::json::array(), "object");
}

}  // namespace
}  // namespace pajamas
