// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// Attention of one head, in float32, shared by all kinds of attention. A vector holds several queries, so that
// the softmax runs over keys and never across a vector.

#pragma once

#include "numbers.h"
#include "scratch.h"

#include <algorithm>

namespace referdino {

// Keys per tile of logits, and queries per tile of results.
constexpr Index kKeysAtOnce = 7;
constexpr Index kQueriesAtOnce = 4;

// One thread's memory for the queries, keys and values of one head. Channels are zero-padded to a multiple
// of the vector's length.
class Head {
 public:
  Head(Index queries, Index keys, Index channels)
      : keys_(keys),
        given_(channels),
        channels_((channels + kLanes - 1) / kLanes * kLanes),
        padded_((queries + kLanes - 1) / kLanes * kLanes),
        scale_(1.0f / __builtin_sqrtf(static_cast<float>(channels))),
        query_rows_(channels_ * padded_),
        key_rows_(keys * channels_),
        value_rows_(keys * channels_),
        weights_(keys * kLanes),
        attended_(kLanes * channels_) {}

  // Clears the queries that are never put; everything else is written before it is read.
  void clear() { std::fill_n(query_rows_.get(), channels_ * padded_, 0.0f); }

  template <typename Number>
  void put_query(Index query, const Number* row) {
    for (Index c = 0; c < channels_; c += kLanes) {
      const Lanes scaled = read(row, c) * scale_;
      for (Index l = 0; l < kLanes; ++l) query_rows_[(c + l) * padded_ + query] = scaled[l];
    }
  }

  template <typename Number>
  void put_key(Index key, const Number* row, const Number* value) {
    for (Index c = 0; c < channels_; c += kLanes) {
      store_lanes(read(row, c), &key_rows_[key * channels_ + c]);
      store_lanes(read(value, c), &value_rows_[key * channels_ + c]);
    }
  }

  // Computes attention for a vector of queries from `first` on. `adjust(key, logits)` adds biases and masks to
  // the logits of a key.
  template <typename Adjust>
  void attend(Index first, const Adjust& adjust) {
    Index key = 0;
    for (; key + kKeysAtOnce <= keys_; key += kKeysAtOnce) compare<kKeysAtOnce>(first, key);
    for (; key < keys_; ++key) compare<1>(first, key);
    weigh(adjust);
    for (Index query = 0; query < kLanes; query += kQueriesAtOnce) {
      Index channel = 0;
      for (; channel + 4 * kLanes <= channels_; channel += 4 * kLanes) collect<4>(query, channel);
      for (; channel + 2 * kLanes <= channels_; channel += 2 * kLanes) collect<2>(query, channel);
      for (; channel < channels_; channel += kLanes) collect<1>(query, channel);
    }
  }

  // For the queries of the last `attend`: the weights of a key, and the result of one query.
  Lanes weights_of(Index key) const { return load_lanes(&weights_[key * kLanes]); }
  const float* attended(Index lane) const { return &attended_[lane * channels_]; }

 private:
  // A vector of a row's channels, zero-padded.
  template <typename Number>
  Lanes read(const Number* row, Index channel) const {
    if (channel + kLanes <= given_) return load_lanes(row + channel);
    Lanes some = {};
    for (Index l = 0; channel + l < given_; ++l) some[l] = load(row + channel + l);
    return some;
  }

  template <Index Keys>
  void compare(Index first, Index key) {
    const float* queries = &query_rows_[first];
    const float* keys = &key_rows_[key * channels_];
    Lanes logits[Keys] = {};
    for (Index c = 0; c < channels_; ++c) {
      const Lanes query = load_lanes(queries + c * padded_);
      for (Index k = 0; k < Keys; ++k) logits[k] += query * keys[k * channels_ + c];
    }
    for (Index k = 0; k < Keys; ++k) store_lanes(logits[k], &weights_[(key + k) * kLanes]);
  }

  // Softmax over the keys, in place.
  template <typename Adjust>
  void weigh(const Adjust& adjust) {
    Lanes largest = Lanes{} - 1e30f;
    for (Index k = 0; k < keys_; ++k) {
      const Lanes logits = adjust(k, weights_of(k));
      store_lanes(logits, &weights_[k * kLanes]);
      largest = larger_of(largest, logits);
    }
    Lanes sum = {};
    for (Index k = 0; k < keys_; ++k) {
      const Lanes powers = exponential(weights_of(k) - largest);
      store_lanes(powers, &weights_[k * kLanes]);
      sum += powers;
    }
    const Lanes scale = 1.0f / sum;
    for (Index k = 0; k < keys_; ++k) store_lanes(weights_of(k) * scale, &weights_[k * kLanes]);
  }

  // Weighted sums of the values for some of the queries, `Blocks` vectors of channels.
  template <Index Blocks>
  void collect(Index query, Index channel) {
    Lanes sums[kQueriesAtOnce][Blocks] = {};
    for (Index k = 0; k < keys_; ++k) {
      const float* value = &value_rows_[k * channels_ + channel];
      const float* weights = &weights_[k * kLanes + query];
      for (Index b = 0; b < Blocks; ++b) {
        const Lanes lanes = load_lanes(value + b * kLanes);
        for (Index q = 0; q < kQueriesAtOnce; ++q) sums[q][b] += weights[q] * lanes;
      }
    }
    for (Index q = 0; q < kQueriesAtOnce; ++q) {
      float* attended = &attended_[(query + q) * channels_ + channel];
      for (Index b = 0; b < Blocks; ++b) store_lanes(sums[q][b], attended + b * kLanes);
    }
  }

  Index keys_;
  Index given_;
  Index channels_;
  Index padded_;
  float scale_;
  Workspace query_rows_;  // (channels, padded), scaled
  Workspace key_rows_;    // (keys, channels)
  Workspace value_rows_;  // (keys, channels)
  Workspace weights_;     // (keys, lanes)
  Workspace attended_;    // (lanes, channels)
};

}  // namespace referdino
