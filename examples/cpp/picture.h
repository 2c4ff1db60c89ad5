// A PNG file as 8-bit pixels, by the policy of docs/pictures.md: 16 bit is divided by 257 and
// rounded, alpha dropped and not blended, palettes looked up, gamma and colour profiles ignored
// (libpng's simplified API would correct for gamma). Refused, because the policy needs more than
// libpng does: colour for a grey detector (its grey is ITU-R 601 luma), EXIF data, which may say that
// the picture is to be turned, and 16 bits of which the detector counts fewer.

#pragma once

#include <png.h>

#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <new>
#include <string>
#include <vector>

#include "problem.h"

inline constexpr std::uint64_t kPixelLimit = 1ULL << 29;  // as the Python package

struct Picture {
  std::size_t height = 0, width = 0;
  std::vector<std::uint8_t> pixels;  // [height, width] or [height, width, 3]
};

// What libpng works on; it outlives `decode`, so that libpng's longjmp skips no destructor.
struct PngReader {
  std::FILE* stream = nullptr;
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<png_bytep> rows;
  std::string reason;

  ~PngReader() {
    png_destroy_read_struct(&png, &info, nullptr);
    if (stream) std::fclose(stream);
  }
  static void on_error(png_structp png, png_const_charp message) {
    static_cast<PngReader*>(png_get_error_ptr(png))->reason = message;
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}
};

// Fills `picture`; false where libpng fails, which tells the reader why.
inline bool decode(PngReader& reader, const std::string& file, bool rgb, std::size_t depth,
                   Picture& picture) {
  png_structp png = reader.png;
  if (setjmp(png_jmpbuf(png))) return false;
  png_init_io(png, reader.stream);
  png_read_info(png, reader.info);
  picture.height = png_get_image_height(png, reader.info);
  picture.width = png_get_image_width(png, reader.info);
  if (std::uint64_t{picture.height} * picture.width > kPixelLimit)
    throw Problem(kFailed, file, "has too many pixels: cut the picture into pieces");
  if (!rgb && (png_get_color_type(png, reader.info) & PNG_COLOR_MASK_COLOR))
    throw Problem(kUnfit, file, "has colour, the detector wants grey: save it as grey (601 luma)");
  if (depth != 16 && png_get_bit_depth(png, reader.info) == 16) {
    const std::string white = std::to_string((1 << depth) - 1);
    throw Problem(kUnfit, file, "has 16 bits, of which the detector counts " +
                                    std::to_string(depth) + ": save it as 8 bits (value * 255 / " +
                                    white + ", rounded)");
  }
  png_set_expand(png);  // palettes, and less than 8 bits
  png_set_scale_16(png);
  png_set_strip_alpha(png);
  if (rgb) png_set_gray_to_rgb(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, reader.info);
  const std::size_t stride = png_get_rowbytes(png, reader.info);
  picture.pixels.resize(picture.height * stride);
  for (std::size_t y = 0; y < picture.height; ++y)
    reader.rows.push_back(picture.pixels.data() + y * stride);
  png_read_image(png, reader.rows.data());
  png_read_end(png, reader.info);
  if (png_get_valid(png, reader.info, PNG_INFO_eXIf))
    throw Problem(kUnfit, file, "holds EXIF data, which may turn it: save it without metadata");
  return true;
}

inline Picture read_png(const std::string& file, bool rgb, std::size_t depth) {
  PngReader reader;
  Picture picture;
  reader.stream = std::fopen(file.c_str(), "rb");
  if (!reader.stream) throw Problem(kFailed, file, "cannot be opened: check path and permissions");
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, PngReader::on_error,
                                      PngReader::on_warning);
  reader.info = reader.png ? png_create_info_struct(reader.png) : nullptr;
  if (!reader.info) throw std::bad_alloc();
  if (!decode(reader, file, rgb, depth, picture))
    throw Problem(kFailed, file,
                  "cannot be decoded (" + reader.reason + "): save it again as PNG, or remove it");
  return picture;
}
