// Tests of nvJPEG's absence: decoding on the host is no failure, but it must be possible to say why.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "pajamas/error.h"
#include "targets/cuda/runtime/jpeg_decoder.h"

namespace pajamas::cuda {
namespace {

using testing::HasSubstr;

TEST(CudaNvjpeg, SaysWhereItLookedWhenThereIsNone) {
  ::setenv("PAJAMAS_NVJPEG", "/nowhere/libnvjpeg.so.13", 1);
  try {
    NvjpegLibrary::open();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDeviceMissing);
    EXPECT_THAT(error.what(), HasSubstr("nvJPEG cannot be opened"));
    EXPECT_THAT(error.what(), HasSubstr("/nowhere/libnvjpeg.so.13 is not there"));
    EXPECT_THAT(error.remedy(), HasSubstr("PAJAMAS_NVJPEG"));
  }
  EXPECT_THROW(JpegService::best(), Error);
  ::unsetenv("PAJAMAS_NVJPEG");
}

TEST(CudaNvjpeg, KnowsItsDecodersByName) {
  for (const JpegBackend backend : {JpegBackend::kHardware, JpegBackend::kCuda, JpegBackend::kHybrid}) {
    EXPECT_EQ(parse_jpeg_backend(to_string(backend)), backend);
  }
  EXPECT_FALSE(parse_jpeg_backend("fast"));
  ::setenv("PAJAMAS_JPEG_DECODER", "fast", 1);
  try {
    JpegService::best();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("'fast'"));
  }
  ::unsetenv("PAJAMAS_JPEG_DECODER");
}

TEST(CudaNvjpeg, LeavesPicturesOutsideItsLimitsToTheHost) {
  EXPECT_TRUE(JpegDecoder::takes(1280, 720));
  EXPECT_TRUE(JpegDecoder::takes(64, 16384));
  EXPECT_FALSE(JpegDecoder::takes(17, 1000));
  EXPECT_FALSE(JpegDecoder::takes(16385, 720));
  EXPECT_FALSE(JpegDecoder::takes(1, 1));
}

}  // namespace
}  // namespace pajamas::cuda
