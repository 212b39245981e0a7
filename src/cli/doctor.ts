// SPDX-License-Identifier: MIT
export async function doctor(_options: { json: boolean; fix: boolean }): Promise<void> {}
