// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Multi-scale deformable attention as a TensorRT plugin (IPluginV3, TensorRT 10.0 and later).
//
// Inputs: value (N, S, M, D), locations (N, Q, M, K, 2), logits (N, Q, M, K). Output: (N, Q, M * D).
// Value and output have the same type: float, half or bfloat16. Locations are float; logits have
// the value's type or are float. The attribute `spatial_shapes` holds height, width of each level,
// finest first. Conventions: referdino_core/ops/csrc/deformable_attention_cuda.h.

#ifndef REFERDINO_DEFORMABLE_ATTENTION_PLUGIN_H_
#define REFERDINO_DEFORMABLE_ATTENTION_PLUGIN_H_

#include <NvInfer.h>

#include <cstdint>
#include <vector>

namespace referdino {

constexpr char const* kPluginName = "ReferdinoDeformableAttention";
constexpr char const* kPluginVersion = "1";
constexpr char const* kPluginNamespace = "referdino";
constexpr char const* kSpatialShapes = "spatial_shapes";

class DeformableAttentionPlugin final : public nvinfer1::IPluginV3,
                                        public nvinfer1::IPluginV3OneCore,
                                        public nvinfer1::IPluginV3OneBuild,
                                        public nvinfer1::IPluginV3OneRuntime {
 public:
  // spatial_shapes: height, width of each level. Throws std::invalid_argument if they are not.
  explicit DeformableAttentionPlugin(std::vector<std::int32_t> spatial_shapes);

  nvinfer1::IPluginCapability* getCapabilityInterface(
      nvinfer1::PluginCapabilityType type) noexcept override;
  DeformableAttentionPlugin* clone() noexcept override;

  nvinfer1::AsciiChar const* getPluginName() const noexcept override { return kPluginName; }
  nvinfer1::AsciiChar const* getPluginVersion() const noexcept override { return kPluginVersion; }
  nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override {
    return kPluginNamespace;
  }

  std::int32_t getNbOutputs() const noexcept override { return 1; }
  std::int32_t getOutputDataTypes(nvinfer1::DataType* output_types, std::int32_t outputs,
                                  nvinfer1::DataType const* input_types,
                                  std::int32_t inputs) const noexcept override;
  std::int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, std::int32_t input_count,
                               nvinfer1::DimsExprs const* shape_inputs,
                               std::int32_t shape_input_count, nvinfer1::DimsExprs* outputs,
                               std::int32_t output_count,
                               nvinfer1::IExprBuilder& builder) noexcept override;
  bool supportsFormatCombination(std::int32_t position,
                                 nvinfer1::DynamicPluginTensorDesc const* tensors,
                                 std::int32_t inputs, std::int32_t outputs) noexcept override;
  std::int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, std::int32_t inputs,
                               nvinfer1::DynamicPluginTensorDesc const* out,
                               std::int32_t outputs) noexcept override;

  std::int32_t onShapeChange(nvinfer1::PluginTensorDesc const* in, std::int32_t inputs,
                             nvinfer1::PluginTensorDesc const* out,
                             std::int32_t outputs) noexcept override;
  std::int32_t enqueue(nvinfer1::PluginTensorDesc const* input_descriptions,
                       nvinfer1::PluginTensorDesc const* output_descriptions,
                       void const* const* inputs, void* const* outputs, void* workspace,
                       cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override;

 private:
  // Whether the inputs' shapes match each other and the levels; negative extents are unknown yet.
  bool shapes_match(nvinfer1::Dims const& value, nvinfer1::Dims const& locations,
                    nvinfer1::Dims const& logits) const noexcept;

  std::vector<std::int32_t> spatial_shapes_;
  std::vector<std::int64_t> level_sizes_;  // the same in the type that the kernel takes
  std::int64_t tokens_ = 0;                // of all levels together
  nvinfer1::PluginField field_;
  nvinfer1::PluginFieldCollection fields_;
};

class DeformableAttentionPluginCreator final : public nvinfer1::IPluginCreatorV3One {
 public:
  DeformableAttentionPluginCreator();

  nvinfer1::IPluginV3* createPlugin(nvinfer1::AsciiChar const* name,
                                    nvinfer1::PluginFieldCollection const* fields,
                                    nvinfer1::TensorRTPhase phase) noexcept override;
  nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override { return &fields_; }
  nvinfer1::AsciiChar const* getPluginName() const noexcept override { return kPluginName; }
  nvinfer1::AsciiChar const* getPluginVersion() const noexcept override { return kPluginVersion; }
  nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override {
    return kPluginNamespace;
  }

 private:
  nvinfer1::PluginField field_;
  nvinfer1::PluginFieldCollection fields_;
};

}  // namespace referdino

#endif  // REFERDINO_DEFORMABLE_ATTENTION_PLUGIN_H_
