// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0

#include "deformable_attention_plugin.h"

#include <atomic>
#include <cstring>
#include <exception>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "deformable_attention_cuda.h"

#ifndef TRT_MAJOR_RTX  // TensorRT for RTX has had IPluginV3 since its first release
static_assert(NV_TENSORRT_MAJOR >= 10, "IPluginV3 needs TensorRT 10.0 or later");
#endif

namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;
using nvinfer1::PluginTensorDesc;

constexpr std::int32_t kSuccess = 0;
constexpr std::int32_t kFailure = -1;

// Indices of the tensors: inputs, then the output.
constexpr std::int32_t kValue = 0;
constexpr std::int32_t kLocations = 1;
constexpr std::int32_t kLogits = 2;
constexpr std::int32_t kInputs = 3;
constexpr std::int32_t kOutput = 3;
constexpr std::int32_t kOutputs = 1;

// Set once by TensorRT, when it loads the library.
std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

void log_error(char const* problem) noexcept {
  try {
    nvinfer1::ILoggerFinder* const finder = logger_finder.load();
    nvinfer1::ILogger* const logger = finder != nullptr ? finder->findLogger() : nullptr;
    if (logger == nullptr) return;
    std::string const line = std::string(referdino::kPluginName) + ": " + problem;
    logger->log(nvinfer1::ILogger::Severity::kERROR, line.c_str());
  } catch (...) {
    // Logging itself failed; the caller's return value still reports the error.
  }
}

bool read_element_type(DataType type, std::int32_t& element_type) noexcept {
  switch (type) {
    case DataType::kFLOAT:
      element_type = kReferdinoFloat32;
      return true;
    case DataType::kHALF:
      element_type = kReferdinoFloat16;
      return true;
    case DataType::kBF16:
      element_type = kReferdinoBFloat16;
      return true;
    default:
      return false;
  }
}

bool may_equal(std::int64_t one, std::int64_t other) noexcept {
  return one < 0 || other < 0 || one == other;
}

// ONNX stores integers in 64 bits; its parser passes them in 32 or 64 bits.
std::vector<std::int32_t> read_integers(PluginField const& field) {
  std::vector<std::int32_t> integers;
  for (std::int32_t i = 0; i < field.length; ++i) {
    std::int64_t number = 0;
    if (field.type == PluginFieldType::kINT32) {
      number = static_cast<std::int32_t const*>(field.data)[i];
    } else if (field.type == PluginFieldType::kINT64) {
      number = static_cast<std::int64_t const*>(field.data)[i];
    } else {
      throw std::invalid_argument("spatial_shapes is not a list of integers");
    }
    if (number < 1 || number > std::numeric_limits<std::int32_t>::max()) {
      throw std::invalid_argument("spatial_shapes has a size that is not positive or too large");
    }
    integers.push_back(static_cast<std::int32_t>(number));
  }
  return integers;
}

}  // namespace

namespace referdino {

// ---- The plugin ----------------------------------------------------------------------------------

DeformableAttentionPlugin::DeformableAttentionPlugin(std::vector<std::int32_t> spatial_shapes)
    : spatial_shapes_(std::move(spatial_shapes)),
      level_sizes_(spatial_shapes_.begin(), spatial_shapes_.end()) {
  std::size_t const count = spatial_shapes_.size();
  if (count == 0 || count % 2 != 0 || count / 2 > kReferdinoMaximumLevels) {
    throw std::invalid_argument("spatial_shapes is not height, width for each of 1 to " +
                                std::to_string(kReferdinoMaximumLevels) + " levels");
  }
  for (std::size_t i = 0; i < count; i += 2) {
    if (level_sizes_[i] < 1 || level_sizes_[i + 1] < 1) {
      throw std::invalid_argument("spatial_shapes has an empty level");
    }
    tokens_ += level_sizes_[i] * level_sizes_[i + 1];
  }
  field_ = PluginField(kSpatialShapes, spatial_shapes_.data(), PluginFieldType::kINT32,
                       static_cast<std::int32_t>(count));
  fields_.nbFields = 1;
  fields_.fields = &field_;
}

nvinfer1::IPluginCapability* DeformableAttentionPlugin::getCapabilityInterface(
    nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    default:
      return nullptr;
  }
}

DeformableAttentionPlugin* DeformableAttentionPlugin::clone() noexcept {
  try {
    // Constructed anew rather than copied: fields_ points into its own object.
    return new DeformableAttentionPlugin(spatial_shapes_);
  } catch (std::exception const& error) {
    log_error(error.what());
    return nullptr;
  }
}

bool DeformableAttentionPlugin::shapes_match(Dims const& value, Dims const& locations,
                                             Dims const& logits) const noexcept {
  if (value.nbDims != 4 || locations.nbDims != 5 || logits.nbDims != 4) {
    log_error("takes value (N, S, M, D), locations (N, Q, M, K, 2) and logits (N, Q, M, K)");
    return false;
  }
  if (!may_equal(value.d[1], tokens_)) {
    log_error("the value's number of tokens differs from that of spatial_shapes");
    return false;
  }
  bool match = may_equal(value.d[0], locations.d[0]) && may_equal(value.d[2], locations.d[2]) &&
               may_equal(locations.d[4], 2);
  for (int axis = 0; axis < 4; ++axis) {
    match = match && may_equal(locations.d[axis], logits.d[axis]);
  }
  std::int64_t const levels = static_cast<std::int64_t>(spatial_shapes_.size() / 2);
  if (!match || (logits.d[3] >= 0 && (logits.d[3] == 0 || logits.d[3] % levels != 0))) {
    log_error("the shapes of value, locations and logits do not match");
    return false;
  }
  return true;
}

// ---- IPluginV3OneBuild ---------------------------------------------------------------------------

std::int32_t DeformableAttentionPlugin::getOutputDataTypes(DataType* output_types,
                                                           std::int32_t outputs,
                                                           DataType const* input_types,
                                                           std::int32_t inputs) const noexcept {
  if (inputs != kInputs || outputs != kOutputs) return kFailure;
  output_types[0] = input_types[kValue];
  return kSuccess;
}

std::int32_t DeformableAttentionPlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs,
                                                        std::int32_t input_count,
                                                        nvinfer1::DimsExprs const*, std::int32_t,
                                                        nvinfer1::DimsExprs* outputs,
                                                        std::int32_t output_count,
                                                        nvinfer1::IExprBuilder& builder) noexcept {
  if (input_count != kInputs || output_count != kOutputs) return kFailure;
  if (inputs[kValue].nbDims != 4 || inputs[kLocations].nbDims != 5) return kFailure;
  outputs[0].nbDims = 3;
  outputs[0].d[0] = inputs[kValue].d[0];
  outputs[0].d[1] = inputs[kLocations].d[1];
  outputs[0].d[2] = builder.operation(nvinfer1::DimensionOperation::kPROD, *inputs[kValue].d[2],
                                      *inputs[kValue].d[3]);
  return outputs[0].d[2] != nullptr ? kSuccess : kFailure;
}

bool DeformableAttentionPlugin::supportsFormatCombination(
    std::int32_t position, nvinfer1::DynamicPluginTensorDesc const* tensors, std::int32_t inputs,
    std::int32_t outputs) noexcept {
  if (inputs != kInputs || outputs != kOutputs || position < 0 || position > kOutput) return false;
  PluginTensorDesc const& tensor = tensors[position].desc;
  if (tensor.format != nvinfer1::TensorFormat::kLINEAR) return false;
  std::int32_t element_type = 0;
  switch (position) {
    case kValue:
      return read_element_type(tensor.type, element_type);
    case kLocations:
      return tensor.type == DataType::kFLOAT;
    case kLogits:
      return tensor.type == tensors[kValue].desc.type || tensor.type == DataType::kFLOAT;
    default:
      return tensor.type == tensors[kValue].desc.type;
  }
}

std::int32_t DeformableAttentionPlugin::configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in,
                                                        std::int32_t inputs,
                                                        nvinfer1::DynamicPluginTensorDesc const*,
                                                        std::int32_t outputs) noexcept {
  if (inputs != kInputs || outputs != kOutputs) return kFailure;
  bool const match =
      shapes_match(in[kValue].desc.dims, in[kLocations].desc.dims, in[kLogits].desc.dims);
  return match ? kSuccess : kFailure;
}

// ---- IPluginV3OneRuntime -------------------------------------------------------------------------

std::int32_t DeformableAttentionPlugin::onShapeChange(PluginTensorDesc const* in,
                                                      std::int32_t inputs, PluginTensorDesc const*,
                                                      std::int32_t outputs) noexcept {
  if (inputs != kInputs || outputs != kOutputs) return kFailure;
  bool const match = shapes_match(in[kValue].dims, in[kLocations].dims, in[kLogits].dims);
  return match ? kSuccess : kFailure;
}

std::int32_t DeformableAttentionPlugin::enqueue(PluginTensorDesc const* input_descriptions,
                                                PluginTensorDesc const*, void const* const* inputs,
                                                void* const* outputs, void*,
                                                cudaStream_t stream) noexcept {
  Dims const& value = input_descriptions[kValue].dims;
  Dims const& logits = input_descriptions[kLogits].dims;
  ReferdinoDeformableAttention call{};
  if (!read_element_type(input_descriptions[kValue].type, call.value_type) ||
      !read_element_type(input_descriptions[kLogits].type, call.logits_type)) {
    log_error("the type of the value or of the logits is not supported");
    return kFailure;
  }
  call.value = inputs[kValue];
  call.locations = static_cast<float const*>(inputs[kLocations]);
  call.logits = inputs[kLogits];
  call.output = outputs[0];
  call.level_sizes = level_sizes_.data();
  call.batch = value.d[0];
  call.queries = logits.d[1];
  call.heads = value.d[2];
  call.channels = value.d[3];
  call.levels = static_cast<std::int32_t>(level_sizes_.size() / 2);
  call.points = static_cast<std::int32_t>(logits.d[3] / call.levels);
  int const error = referdino_cuda_deformable_attention(&call, stream);
  if (error != 0) log_error(referdino_cuda_error_text(error));
  return error;
}

nvinfer1::IPluginV3* DeformableAttentionPlugin::attachToContext(
    nvinfer1::IPluginResourceContext*) noexcept {
  return clone();
}

nvinfer1::PluginFieldCollection const* DeformableAttentionPlugin::getFieldsToSerialize() noexcept {
  return &fields_;
}

// ---- Creator -------------------------------------------------------------------------------------

DeformableAttentionPluginCreator::DeformableAttentionPluginCreator()
    : field_(kSpatialShapes, nullptr, PluginFieldType::kINT32, 1) {
  fields_.nbFields = 1;
  fields_.fields = &field_;
}

nvinfer1::IPluginV3* DeformableAttentionPluginCreator::createPlugin(
    nvinfer1::AsciiChar const*, nvinfer1::PluginFieldCollection const* fields,
    nvinfer1::TensorRTPhase) noexcept {
  try {
    for (std::int32_t i = 0; fields != nullptr && i < fields->nbFields; ++i) {
      PluginField const& field = fields->fields[i];
      if (std::strcmp(field.name, kSpatialShapes) == 0) {
        return new DeformableAttentionPlugin(read_integers(field));
      }
    }
    throw std::invalid_argument("the attribute spatial_shapes is missing");
  } catch (std::exception const& error) {
    log_error(error.what());
    return nullptr;
  }
}

}  // namespace referdino

// ---- Entry points of IPluginRegistry::loadLibrary ------------------------------------------------
// No static registrar: TensorRT refuses a library whose plugins are already registered.

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(
    nvinfer1::ILoggerFinder* finder) {
  logger_finder.store(finder);
}

extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const*
getCreators(std::int32_t& count) {
  static referdino::DeformableAttentionPluginCreator creator;
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
  count = 1;
  return creators;
}
