// Inspects PNG pictures with an ssim-ae detector on ONNX Runtime; see README.md beside this file.
//
// Exit codes: 0 done; 1 a picture could not be read or a result not be written; 2 wrong use, or a
// detector or picture that does not fit. A bad picture does not keep the others from inspection.

#include <png.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "detector.h"
#include "problem.h"

namespace fs = std::filesystem;

namespace {

// A whole file or none: it has another name until it is complete.
void write_file(const fs::path& file, const std::string& data) {
  const fs::path part = file.parent_path() / ("." + file.filename().string() + ".part");
  std::error_code error;
  std::ofstream stream(part, std::ios::binary);
  stream.write(data.data(), static_cast<std::streamsize>(data.size()));
  stream.close();
  if (stream) fs::rename(part, file, error);
  if (stream && !error) return;
  fs::remove(part, error);
  throw Problem(kFailed, file.string(), "cannot be written: check disk and permissions");
}

// Portable float map, bottom row first; the negative scale says little-endian.
std::string pfm(const float* map, std::size_t height, std::size_t width) {
  std::string data = "Pf\n" + std::to_string(width) + " " + std::to_string(height) + "\n-1.0\n";
  for (std::size_t y = height; y-- > 0;) {
    for (std::size_t x = 0; x < width; ++x) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, map + y * width + x, sizeof bits);
      for (int shift = 0; shift < 32; shift += 8) data.push_back(static_cast<char>(bits >> shift));
    }
  }
  return data;
}

// A grey PNG: 255 where marked, else 0.
std::string mask_png(const bool* mask, std::size_t height, std::size_t width) {
  std::vector<std::uint8_t> pixels(height * width);
  std::transform(mask, mask + pixels.size(), pixels.begin(), [](bool m) { return m ? 255 : 0; });
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = PNG_FORMAT_GRAY;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string data(size, '\0');
  if (!png_image_write_to_memory(&image, data.data(), &size, 0, pixels.data(), 0, nullptr))
    throw Problem(kFailed, "mask", std::string("libpng failed (") + image.message + ")");
  return data.substr(0, size);
}

// Makes the folders for results and checks that none would overwrite another.
void prepare(const fs::path& output, const std::vector<std::string>& files) {
  std::set<fs::path> names;
  for (const auto& file : files)
    if (!names.insert(fs::path(file).stem()).second)
      throw Problem(kUnfit, file, "an earlier picture has this name: use two --output folders");
  std::error_code error;
  for (const char* folder : {"maps", "masks"})
    if (fs::create_directories(output / folder, error); error)
      throw Problem(kUnfit, output.string(),
                    "no folder can be made there (" + error.message() + "): name another one");
}

void inspect(Detector& detector, const std::string& file, const fs::path& output) {
  Picture picture = detector.read(file);
  const auto found = detector.inspect(picture, file);
  if (!output.empty()) {
    const std::string name = fs::path(file).stem().string();
    write_file(output / "maps" / (name + ".pfm"),
               pfm(found[0].GetTensorData<float>(), picture.height, picture.width));
    write_file(output / "masks" / (name + ".png"),
               mask_png(found[2].GetTensorData<bool>(), picture.height, picture.width));
  }
  std::printf("%-9s %.4f  %s\n", *found[3].GetTensorData<bool>() ? "defective" : "good",
              static_cast<double>(*found[1].GetTensorData<float>()), file.c_str());
  std::fflush(stdout);
}

int run(std::vector<std::string> files) {
  fs::path output;
  if (files.size() > 1 && files[0] == "--output") {
    output = files[1];
    files.erase(files.begin(), files.begin() + 2);
  }
  if (files.size() < 2 || files[0].rfind("--", 0) == 0)
    throw Problem(kUnfit, "usage", "inspect [--output FOLDER] detector.onnx picture.png ...");
  if (!OrtGetApiBase()->GetApi(ORT_API_VERSION))
    throw Problem(kUnfit, std::string("ONNX Runtime ") + OrtGetApiBase()->GetVersionString(),
                  "is older than the headers of this program: build it again, or update it");
  Detector detector(files[0]);
  files.erase(files.begin());
  if (!output.empty()) prepare(output, files);
  int code = 0;
  for (const auto& file : files) {
    try {
      inspect(detector, file, output);
    } catch (const Problem& problem) {
      std::cerr << "error: " << problem.what() << '\n';
      code = std::max(code, problem.code);
    } catch (const std::bad_alloc&) {
      std::cerr << "error: " << file << ": does not fit in memory: cut it into pieces\n";
      code = std::max(code, kFailed);
    }
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const Problem& problem) {
    std::cerr << "error: " << problem.what() << '\n';
    return problem.code;
  } catch (const std::exception& error) {
    std::cerr << "error: " << first_line(error.what()) << '\n';
    return kFailed;
  }
}
