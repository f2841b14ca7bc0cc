// Streams, events and graphs of the emulated device: what a capture records, and what it refuses.
#include <cuda_runtime.h>
#include <emulation.h>
#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <vector>

namespace {

__global__ void add(int* x, int value) { x[threadIdx.x] += value; }

class Capture : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    ASSERT_EQ(cudaMalloc(&x, 4 * sizeof(int)), cudaSuccess);
    ASSERT_EQ(cudaMemset(x, 0, 4 * sizeof(int)), cudaSuccess);
    ASSERT_EQ(cudaMallocHost(&pinned, 4 * sizeof(int)), cudaSuccess);
  }
  void TearDown() override {
    EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
    EXPECT_EQ(cudaFree(x), cudaSuccess);
    EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
    (void)cudaGetLastError();
  }

  cudaError_t launch(int value) {
    cudaLaunchConfig_t config{};
    config.blockDim = 4;
    config.stream = stream;
    return cudaLaunchKernelEx(&config, add, x, value);
  }

  void begin(cudaStreamCaptureMode mode = cudaStreamCaptureModeThreadLocal) {
    ASSERT_EQ(cudaStreamBeginCapture(stream, mode), cudaSuccess);
  }

  // The capture goes on to fail because `operation` was refused.
  void expect_refused(cudaError_t operation) {
    EXPECT_EQ(operation, cudaErrorStreamCaptureUnsupported);
    cudaStreamCaptureStatus status;
    EXPECT_EQ(cudaStreamIsCapturing(stream, &status), cudaSuccess);
    EXPECT_EQ(status, cudaStreamCaptureStatusInvalidated);
    EXPECT_EQ(launch(1), cudaErrorStreamCaptureInvalidated);
    cudaGraph_t graph;
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
    EXPECT_EQ(cudaStreamIsCapturing(stream, &status), cudaSuccess);
    EXPECT_EQ(status, cudaStreamCaptureStatusNone);
  }

  std::vector<int> values() {
    std::vector<int> copy(4);
    EXPECT_EQ(cudaMemcpy(copy.data(), x, 4 * sizeof(int), cudaMemcpyDeviceToHost), cudaSuccess);
    return copy;
  }

  cudaStream_t stream = nullptr;
  int *x = nullptr, *pinned = nullptr;
};

TEST_F(Capture, RecordsAndReplays) {
  begin();
  const int64_t launches = emulation::launch_count();
  int value = 3;
  ASSERT_EQ(launch(value), cudaSuccess);
  value = 100;  // the launch holds its own copy
  ASSERT_EQ(cudaMemcpyAsync(pinned, x, 4 * sizeof(int), cudaMemcpyDeviceToHost, stream), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(x + 3, 0, sizeof(int), stream), cudaSuccess);
  cudaStreamCaptureStatus status;
  unsigned long long id = 0;
  EXPECT_EQ(cudaStreamGetCaptureInfo(stream, &status, &id), cudaSuccess);
  EXPECT_EQ(status, cudaStreamCaptureStatusActive);
  EXPECT_NE(id, 0u);
  cudaGraph_t graph;
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_EQ(values(), (std::vector<int>{0, 0, 0, 0}));
  EXPECT_EQ(emulation::launch_count(), launches);

  size_t count = 0;
  ASSERT_EQ(cudaGraphGetNodes(graph, nullptr, &count), cudaSuccess);
  ASSERT_EQ(count, 3u);
  cudaGraphNode_t nodes[3];
  ASSERT_EQ(cudaGraphGetNodes(graph, nodes, &count), cudaSuccess);
  const cudaGraphNodeType expected[] = {cudaGraphNodeTypeKernel, cudaGraphNodeTypeMemcpy, cudaGraphNodeTypeMemset};
  for (int i = 0; i < 3; ++i) {
    cudaGraphNodeType type;
    EXPECT_EQ(cudaGraphNodeGetType(nodes[i], &type), cudaSuccess);
    EXPECT_EQ(type, expected[i]);
  }

  cudaGraphExec_t exec;
  ASSERT_EQ(cudaGraphInstantiate(&exec, graph), cudaSuccess);
  ASSERT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  ASSERT_EQ(cudaGraphUpload(exec, stream), cudaSuccess);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(values(), (std::vector<int>{6, 6, 6, 0}));
  EXPECT_EQ(std::vector<int>(pinned, pinned + 4), (std::vector<int>{6, 6, 6, 3}));
  EXPECT_EQ(emulation::launch_count(), launches + 2);
  EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
}

TEST_F(Capture, GraphsWithinGraphsAndUpdates) {
  const auto record = [&](auto work) {
    begin();
    work();
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    return graph;
  };
  const cudaGraph_t one = record([&] { EXPECT_EQ(launch(1), cudaSuccess); }),
                    ten = record([&] { EXPECT_EQ(launch(10), cudaSuccess); });
  cudaGraphExec_t exec, outer_exec;
  ASSERT_EQ(cudaGraphInstantiate(&exec, one), cudaSuccess);
  const cudaGraph_t outer = record([&] { EXPECT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess); });
  ASSERT_EQ(cudaGraphInstantiate(&outer_exec, outer), cudaSuccess);
  cudaGraphExecUpdateResultInfo result;
  ASSERT_EQ(cudaGraphExecUpdate(exec, ten, &result), cudaSuccess);
  EXPECT_EQ(result.result, cudaGraphExecUpdateSuccess);
  ASSERT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(outer_exec, stream), cudaSuccess);
  EXPECT_EQ(values(), (std::vector<int>{11, 11, 11, 11}));
  EXPECT_EQ(cudaGraphExecUpdate(exec, outer, &result), cudaErrorGraphExecUpdateFailure);
  EXPECT_EQ(result.result, cudaGraphExecUpdateErrorNodeTypeChanged);
  for (const cudaGraph_t graph : {one, ten, outer}) EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  for (const cudaGraphExec_t graph : {exec, outer_exec}) EXPECT_EQ(cudaGraphExecDestroy(graph), cudaSuccess);
}

TEST_F(Capture, RefusesWhatWaits) {
  int host[4] = {};
  void* pointer = nullptr;
  cudaEvent_t event;
  ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
  const std::vector<std::function<cudaError_t()>> operations = {
      [&] { return cudaStreamSynchronize(stream); },
      [&] { return cudaStreamQuery(stream); },
      [&] { return cudaDeviceSynchronize(); },
      [&] { return cudaEventQuery(event); },
      [&] { return cudaEventSynchronize(event); },
      [&] { return cudaMalloc(&pointer, 16); },
      [&] { return cudaFree(x); },
      [&] { return cudaMallocHost(&pointer, 16); },
      [&] { return cudaMemcpy(host, x, 16, cudaMemcpyDeviceToHost); },
      [&] { return cudaMemcpyAsync(x, host, 16, cudaMemcpyHostToDevice, stream); },
      [&] { return cudaMemcpyAsync(host, x, 16, cudaMemcpyDeviceToHost, stream); },
      [&] { return cudaMallocAsync(&pointer, 16, stream); },
  };
  for (size_t i = 0; i < operations.size(); ++i) {
    SCOPED_TRACE(i);
    begin(i % 2 == 0 ? cudaStreamCaptureModeGlobal : cudaStreamCaptureModeThreadLocal);
    expect_refused(operations[i]());
  }
  EXPECT_EQ(pointer, nullptr);
  EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
}

TEST_F(Capture, ModesAndThreads) {
  void* pointer = nullptr;
  const auto elsewhere = [&] {
    cudaError_t status = cudaSuccess;
    std::thread([&] { status = cudaMalloc(&pointer, 16); }).join();
    return status;
  };
  cudaGraph_t graph;
  begin(cudaStreamCaptureModeThreadLocal);
  EXPECT_EQ(elsewhere(), cudaSuccess);
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaFree(pointer), cudaSuccess);

  begin(cudaStreamCaptureModeRelaxed);
  EXPECT_EQ(cudaMalloc(&pointer, 16), cudaSuccess);
  EXPECT_EQ(cudaFree(pointer), cudaSuccess);
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);

  begin(cudaStreamCaptureModeGlobal);
  expect_refused(elsewhere());

  begin(cudaStreamCaptureModeThreadLocal);
  cudaError_t status = cudaSuccess;
  std::thread([&] { status = cudaStreamEndCapture(stream, &graph); }).join();
  EXPECT_EQ(status, cudaErrorStreamCaptureWrongThread);
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorIllegalState);
  EXPECT_EQ(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal), cudaErrorStreamCaptureUnsupported);
}

TEST_F(Capture, Events) {
  cudaEvent_t start, end, captured;
  for (cudaEvent_t* event : {&start, &end, &captured}) ASSERT_EQ(cudaEventCreate(event), cudaSuccess);
  float milliseconds = -1;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, start, end), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventRecord(start, stream), cudaSuccess);
  EXPECT_EQ(launch(1), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(end, stream), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(end), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, start, end), cudaSuccess);
  EXPECT_GE(milliseconds, 0);
  EXPECT_EQ(cudaStreamWaitEvent(nullptr, end), cudaSuccess);

  begin();
  EXPECT_EQ(cudaEventRecord(captured, stream), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(stream, captured), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(stream, start), cudaErrorStreamCaptureIsolation);
  cudaGraph_t graph;
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
  EXPECT_EQ(cudaEventQuery(captured), cudaErrorCapturedEvent);
  for (const cudaEvent_t event : {start, end, captured}) EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
}

TEST_F(Capture, LegacyStreamAndBlockingStreams) {
  cudaStream_t blocking;
  ASSERT_EQ(cudaStreamCreate(&blocking), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeRelaxed), cudaSuccess);
  EXPECT_EQ(cudaMemsetAsync(x, 0, 4), cudaErrorStreamCaptureImplicit);
  cudaGraph_t graph;
  EXPECT_EQ(cudaStreamEndCapture(blocking, &graph), cudaErrorStreamCaptureInvalidated);
  EXPECT_EQ(cudaStreamDestroy(blocking), cudaSuccess);
  begin(cudaStreamCaptureModeRelaxed);
  EXPECT_EQ(cudaMemsetAsync(x, 0, 4), cudaSuccess);
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
}

}  // namespace
