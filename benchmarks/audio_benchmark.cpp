// Times what stands before a speech model, on one core: log-mel features, resampling, decoding. The counter
// `times_real_time` is seconds of audio per second.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "media/audio_reader.h"
#include "media/audio_resampler.h"
#include "media/audio_writer.h"
#include "media/log_mel.h"

namespace {

constexpr int kSeconds = 30;

std::vector<float> noise(int rate_hz) {
  std::mt19937 engine(1);
  std::uniform_real_distribution<float> uniform(-0.5F, 0.5F);
  std::vector<float> samples(static_cast<std::size_t>(kSeconds * rate_hz));
  for (float& sample : samples) sample = uniform(engine);
  return samples;
}

void count_seconds(benchmark::State& state) {
  state.counters["times_real_time"] =
      benchmark::Counter(static_cast<double>(state.iterations() * kSeconds), benchmark::Counter::kIsRate);
}

void log_mel(benchmark::State& state) {
  const pajamas::LogMel mel(static_cast<int>(state.range(0)));
  const std::vector<float> samples = noise(pajamas::kMelSampleRateHz);
  std::vector<float> features(static_cast<std::size_t>(mel.num_mels()) * 3000);
  for (auto _ : state) {
    mel.compute(samples, 3000, features);
    benchmark::DoNotOptimize(features.data());
  }
  count_seconds(state);
}
BENCHMARK(log_mel)->Arg(80)->Arg(128)->Unit(benchmark::kMillisecond);

void resample_to_16khz(benchmark::State& state) {
  const auto rate_hz = static_cast<int>(state.range(0));
  const std::vector<float> samples = noise(rate_hz);
  std::vector<float> output;
  for (auto _ : state) {
    pajamas::AudioResampler resampler(rate_hz, 16000);
    output.clear();
    resampler.push(samples, output);
    resampler.finish(output);
    benchmark::DoNotOptimize(output.data());
  }
  count_seconds(state);
}
BENCHMARK(resample_to_16khz)->Arg(8000)->Arg(22050)->Arg(44100)->Arg(48000)->Unit(benchmark::kMillisecond);

void read_file(benchmark::State& state, pajamas::AudioFileFormat format, int rate_hz) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("pajamas-audio-benchmark-" + std::to_string(::getpid()));
  pajamas::AudioWriter writer(path, format, rate_hz);
  writer.write(noise(rate_hz));
  writer.finish();
  std::vector<float> block(16000);
  for (auto _ : state) {
    pajamas::AudioReader reader(path);
    while (reader.read(block) > 0) benchmark::DoNotOptimize(block.data());
  }
  count_seconds(state);
  std::filesystem::remove(path);
}
BENCHMARK_CAPTURE(read_file, wav_16khz, pajamas::AudioFileFormat::kWavInt16, 16000)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(read_file, flac_44khz, pajamas::AudioFileFormat::kFlacInt16, 44100)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
