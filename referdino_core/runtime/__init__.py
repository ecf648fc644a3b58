# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
