// SPDX-License-Identifier: MIT
/** Of JavaScript's WebAssembly what is used here: TypeScript has its types only together with a browser's. */
declare namespace WebAssembly {
  class Module {
    private readonly compiled: true
  }

  class Memory {
    readonly buffer: ArrayBuffer
  }

  class Instance {
    readonly exports: Readonly<Record<string, unknown>>
    constructor(module: Module, imports?: Readonly<Record<string, Readonly<Record<string, unknown>>>>)
  }

  function compile(bytes: Uint8Array): Promise<Module>
}
