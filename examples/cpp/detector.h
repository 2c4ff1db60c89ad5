// A detector.onnx: what it wants of pictures, and what it says of one.

#pragma once

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "picture.h"
#include "problem.h"

class Detector {
 public:
  explicit Detector(const std::string& file) : file_(file) {
    if (!std::filesystem::is_regular_file(file)) refuse("does not exist: name a detector.onnx");
    try {
      session_ = Ort::Session(env_, std::filesystem::path(file).c_str(), Ort::SessionOptions());
    } catch (const Ort::Exception& error) {
      refuse("ONNX Runtime " + std::string(OrtGetApiBase()->GetVersionString()) + " refuses it (" +
             first_line(error.what()) + "): copy it again, or use a newer ONNX Runtime");
    }
    rgb_ = entry("color") == "rgb";
    resize_ = number("resize");
    centre_crop_ = number("centre_crop");
    smallest_ = number("smallest");
    if (lookup("depth")) depth_ = number("depth");  // older detectors do not say it
    if (depth_ < 8 || depth_ > 16) refuse("its entry `depth` is damaged: copy it again");
    if (!lookup("score_threshold")) refuse("is not calibrated: run `ssim-ae calibrate` first");
    if (session_.GetOutputCount() != 4) refuse("gives no mask and no verdict: train it anew");
  }

  // Decodes a file and checks that it has the working size.
  Picture read(const std::string& file) const {
    Picture picture = read_png(file, rgb_, depth_);
    const auto [shorter, longer] = std::minmax(picture.height, picture.width);
    const auto want = [&](bool fits, const std::string& wanted) {
      if (fits) return;
      throw Problem(kUnfit, file,
                    "is " + std::to_string(picture.width) + "x" + std::to_string(picture.height) +
                        ", the detector wants " + wanted);
    };
    if (const std::string side = std::to_string(centre_crop_); centre_crop_)
      want(shorter == centre_crop_ && longer == centre_crop_,
           side + "x" + side + ": " + (resize_ ? "resize, then " : "") + "crop it as in training");
    else if (resize_)
      want(shorter == resize_, "a short side of " + std::to_string(resize_) + ": resize it first");
    want(shorter >= smallest_,
         "sides from " + std::to_string(smallest_) + " upwards: use larger pictures");
    return picture;
  }

  // Anomaly map float32 [1, h, w], score float32 [1], mask bool [1, h, w], defective bool [1].
  std::vector<Ort::Value> inspect(Picture& picture, const std::string& name) {
    const char* const input = "image";
    const char* const outputs[] = {"anomaly_map", "score", "mask", "defective"};
    std::vector<std::int64_t> shape{1, static_cast<std::int64_t>(picture.height),
                                    static_cast<std::int64_t>(picture.width)};
    if (rgb_) shape.push_back(3);
    try {
      const auto image = Ort::Value::CreateTensor<std::uint8_t>(
          Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault), picture.pixels.data(),
          picture.pixels.size(), shape.data(), shape.size());
      return session_.Run(Ort::RunOptions{nullptr}, &input, &image, 1, outputs, 4);
    } catch (const Ort::Exception& error) {
      throw Problem(kFailed, name,
                    "ONNX Runtime failed (" + first_line(error.what()) +
                        "): free memory, or use smaller pictures");
    }
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const { throw Problem(kUnfit, file_, why); }

  Ort::AllocatedStringPtr lookup(const char* key) const {
    return session_.GetModelMetadata().LookupCustomMetadataMapAllocated(key, allocator_);
  }

  std::string entry(const std::string& key) const {
    const auto value = lookup(key.c_str());
    if (!value) refuse("lacks the entry `" + key + "`: name a detector of a current ssim-ae");
    return value.get();
  }

  // A number; "none" becomes 0.
  std::size_t number(const std::string& key) const {
    const std::string text = entry(key);
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text != "none" && (error != std::errc() || end != text.data() + text.size()))
      refuse("its entry `" + key + "` is damaged (" + text + "): copy it again");
    return value;
  }

  std::string file_;
  Ort::Env env_{ORT_LOGGING_LEVEL_FATAL, "ssim-ae"};  // errors are told in one line, not logged
  Ort::Session session_{nullptr};
  mutable Ort::AllocatorWithDefaultOptions allocator_;
  bool rgb_ = false;
  std::size_t resize_ = 0, centre_crop_ = 0, smallest_ = 0;  // 0: any
  std::size_t depth_ = 16;
};
