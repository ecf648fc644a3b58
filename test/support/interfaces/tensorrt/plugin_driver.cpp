// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Not TensorRT: calls the plugin in the order in which TensorRT does, on arrays of the CPU, so that the
// tests can follow it through creation, build, serialisation and run.

#include <NvInfer.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

extern "C" void setLoggerFinder(nvinfer1::ILoggerFinder* finder);
extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& count);

namespace {

using namespace nvinfer1;

// Sizes are known here, so that an expression is a number.
struct Number : apiv::VDimensionExpr, IDimensionExpr {
  explicit Number(std::int64_t number) : number(number) { mImpl = this; }
  bool isConstant() const override { return true; }
  std::int64_t getConstantValue() const override { return number; }
  bool isSizeTensor() const override { return false; }
  std::int64_t number;
};

struct Numbers : apiv::VExprBuilder {
  std::vector<std::unique_ptr<Number>> numbers;
  IDimensionExpr const* constant(std::int64_t value) override {
    numbers.push_back(std::make_unique<Number>(value));
    return numbers.back().get();
  }
  IDimensionExpr const* operation(DimensionOperation op, IDimensionExpr const& first,
                                  IDimensionExpr const& second) override {
    if (op != DimensionOperation::kPROD) return nullptr;
    return constant(first.getConstantValue() * second.getConstantValue());
  }
  IDimensionExpr const* declareSizeTensor(std::int32_t, IDimensionExpr const&,
                                          IDimensionExpr const&) override {
    return nullptr;
  }
};

struct Expressions : IExprBuilder {
  Numbers numbers;
  Expressions() { mImpl = &numbers; }
};

struct LastLine : ILogger, ILoggerFinder {
  std::string line;
  void log(Severity, AsciiChar const* message) noexcept override { line = message; }
  ILogger* findLogger() override { return this; }
};

LastLine last_line;

IPluginCreatorV3One* creator() {
  setLoggerFinder(&last_line);
  std::int32_t count = 0;
  IPluginCreatorInterface* const* creators = getCreators(count);
  if (count != 1 ||
      std::strcmp(creators[0]->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE") != 0) {
    return nullptr;
  }
  return static_cast<IPluginCreatorV3One*>(creators[0]);
}

std::unique_ptr<IPluginV3> create(PluginField const& field, TensorRTPhase phase) {
  PluginFieldCollection fields;
  fields.nbFields = 1;
  fields.fields = &field;
  return std::unique_ptr<IPluginV3>(creator()->createPlugin("attention", &fields, phase));
}

IPluginV3OneBuild* build_side(IPluginV3& plugin) {
  return static_cast<IPluginV3OneBuild*>(
      plugin.getCapabilityInterface(PluginCapabilityType::kBUILD));
}

IPluginV3OneRuntime* runtime_side(IPluginV3& plugin) {
  return static_cast<IPluginV3OneRuntime*>(
      plugin.getCapabilityInterface(PluginCapabilityType::kRUNTIME));
}

// What a plan file would hold: the field's numbers, apart from the plugin that gave them.
std::unique_ptr<IPluginV3> through_a_plan(IPluginV3& plugin) {
  PluginFieldCollection const* fields = runtime_side(plugin)->getFieldsToSerialize();
  if (fields->nbFields != 1 || fields->fields[0].type != PluginFieldType::kINT32) return nullptr;
  PluginField field = fields->fields[0];
  std::string const name = field.name;
  auto const* numbers = static_cast<std::int32_t const*>(field.data);
  std::vector<std::int32_t> const kept(numbers, numbers + field.length);
  field.name = name.c_str();
  field.data = kept.data();
  return create(field, TensorRTPhase::kRUNTIME);
}

constexpr int kTensors = 4;
constexpr int kInputs = 3;

}  // namespace

extern "C" {

char const* last_complaint() { return last_line.line.c_str(); }

// "name version namespace attribute", from the creator.
char const* description() {
  static std::string text;
  IPluginCreatorV3One* const made = creator();
  text = std::string(made->getPluginName()) + " " + made->getPluginVersion() + " " +
         made->getPluginNamespace() + " " + made->getFieldNames()->fields[0].name;
  return text.c_str();
}

// Whether a plugin can be made of the attribute; `type` is a PluginFieldType.
int creates(void const* numbers, std::int32_t count, std::int32_t type, char const* name) {
  PluginField const field(name, numbers, static_cast<PluginFieldType>(type), count);
  return create(field, TensorRTPhase::kBUILD) != nullptr;
}

// Whether the plugin takes value, locations, logits and output of these DataTypes, all of one format.
int supports(std::int32_t const* types, std::int32_t format) {
  std::int32_t const level[] = {2, 3};
  auto plugin =
      create({"spatial_shapes", level, PluginFieldType::kINT32, 2}, TensorRTPhase::kBUILD);
  DynamicPluginTensorDesc tensors[kTensors] = {};
  for (int i = 0; i < kTensors; ++i) {
    tensors[i].desc.type = static_cast<DataType>(types[i]);
    tensors[i].desc.format = static_cast<TensorFormat>(format);
  }
  for (int i = 0; i < kTensors; ++i) {
    if (!build_side(*plugin)->supportsFormatCombination(i, tensors, kInputs, 1)) return 0;
  }
  return 1;
}

// From the attribute to the output. `shapes` holds five extents for each of value, locations and
// logits, `ranks` how many of them count. The output's shape is written to `output_shape`. Returns 0,
// or the number of the step that failed.
int drive(std::int64_t const* levels, std::int32_t level_numbers, std::int64_t const* shapes,
          std::int32_t const* ranks, std::int32_t const* types, void const* const* inputs,
          void* output, std::int64_t* output_shape) {
  auto plugin = create({"spatial_shapes", levels, PluginFieldType::kINT64, level_numbers},
                       TensorRTPhase::kBUILD);
  if (plugin == nullptr) return 1;
  auto* core =
      static_cast<IPluginV3OneCore*>(plugin->getCapabilityInterface(PluginCapabilityType::kCORE));
  if (std::strcmp(core->getInterfaceInfo().kind, "PLUGIN_V3ONE_CORE") != 0) return 2;
  if (std::string(core->getPluginNamespace()) != creator()->getPluginNamespace()) return 2;

  PluginTensorDesc tensors[kTensors] = {};
  DynamicPluginTensorDesc dynamic[kTensors] = {};
  DimsExprs expressions[kInputs] = {};
  Expressions builder;
  for (int i = 0; i < kInputs; ++i) {
    tensors[i].type = static_cast<DataType>(types[i]);
    tensors[i].dims.nbDims = expressions[i].nbDims = ranks[i];
    for (int axis = 0; axis < ranks[i]; ++axis) {
      tensors[i].dims.d[axis] = shapes[5 * i + axis];
      expressions[i].d[axis] = builder.constant(shapes[5 * i + axis]);
    }
    dynamic[i].desc = tensors[i];
    dynamic[i].desc.dims.d[0] = -1;
  }
  auto* build = build_side(*plugin);
  if (build->getNbOutputs() != 1) return 3;
  if (build->configurePlugin(dynamic, kInputs, dynamic + kInputs, 1) != 0) return 4;
  DataType output_type;
  DataType const input_types[] = {tensors[0].type, tensors[1].type, tensors[2].type};
  if (build->getOutputDataTypes(&output_type, 1, input_types, kInputs) != 0) return 5;
  if (output_type != tensors[0].type) return 5;
  DimsExprs made{};
  if (build->getOutputShapes(expressions, kInputs, nullptr, 0, &made, 1, builder) != 0) return 6;
  if (made.nbDims != 3) return 6;
  for (int axis = 0; axis < 3; ++axis) output_shape[axis] = made.d[axis]->getConstantValue();
  if (build->getWorkspaceSize(dynamic, kInputs, dynamic + kInputs, 1) != 0) return 7;

  std::unique_ptr<IPluginV3> loaded = through_a_plan(*plugin);
  if (loaded == nullptr) return 8;
  std::unique_ptr<IPluginV3> copy(loaded->clone());
  if (copy == nullptr) return 9;
  loaded.reset();
  std::unique_ptr<IPluginV3> attached(runtime_side(*copy)->attachToContext(nullptr));
  if (attached == nullptr) return 10;
  copy.reset();
  auto* runtime = runtime_side(*attached);
  tensors[kInputs].type = output_type;
  if (runtime->onShapeChange(tensors, kInputs, tensors + kInputs, 1) != 0) return 11;
  void* const outputs[] = {output};
  return runtime->enqueue(tensors, tensors + kInputs, inputs, outputs, nullptr, nullptr) == 0 ? 0
                                                                                              : 12;
}

}  // extern "C"
