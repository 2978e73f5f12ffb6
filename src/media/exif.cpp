// The orientation tag of an EXIF block, through libexif.
#include <libexif/exif-data.h>

#include <array>
#include <memory>
#include <string_view>

#include "media/codecs.h"

namespace pajamas {

namespace {

constexpr std::string_view kExifHeader{"Exif\0\0", 6};
/// The length field of a JPEG segment has 16 bits, and libexif takes no more.
constexpr std::size_t kMaxExifBytes = 65535;

struct ExifDataDeleter {
  void operator()(ExifData* data) const { exif_data_unref(data); }
};

}  // namespace

int parse_exif_orientation(std::span<const std::byte> exif) {
  if (exif.empty() || exif.size() > kMaxExifBytes) return 1;
  // libexif wants the header that JPEG puts before the block and PNG and WebP leave out.
  std::vector<unsigned char> block;
  const auto* begin = reinterpret_cast<const unsigned char*>(exif.data());
  if (std::string_view(reinterpret_cast<const char*>(begin), exif.size()).substr(0, 6) != kExifHeader) {
    block.assign(kExifHeader.begin(), kExifHeader.end());
  }
  block.insert(block.end(), begin, begin + exif.size());
  const std::unique_ptr<ExifData, ExifDataDeleter> data(exif_data_new());
  if (!data) return 1;
  // Without these options libexif would rewrite and complete the block; only one tag of it is wanted.
  exif_data_unset_option(data.get(), EXIF_DATA_OPTION_FOLLOW_SPECIFICATION);
  exif_data_set_option(data.get(), EXIF_DATA_OPTION_DONT_CHANGE_MAKER_NOTE);
  exif_data_load_data(data.get(), block.data(), static_cast<unsigned int>(block.size()));
  const ExifEntry* entry = exif_content_get_entry(data->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
  if (entry == nullptr || entry->format != EXIF_FORMAT_SHORT || entry->components < 1 || entry->size < 2) return 1;
  const int orientation = exif_get_short(entry->data, exif_data_get_byte_order(data.get()));
  return orientation >= 1 && orientation <= 8 ? orientation : 1;
}

}  // namespace pajamas
