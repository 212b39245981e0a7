# SPDX-License-Identifier: MIT
# In this folder and not in the package's root: npm would build a root's binding.gyp by itself.
{
  'targets': [{
    'target_name': 'efuse_native',
    'sources': [
      'addon.cc',
      'blocks.cc',
      'bpf.cc',
      'constants.cc',
      'credentials.cc',
      'device.cc',
      'files.cc',
      'memory.cc',
      'mounts.cc',
      'poll.cc',
      'threads.cc',
      'uring.cc',
    ],
    # One binary for every Node from 20 on.
    'defines': ['NAPI_VERSION=8', 'NODE_ADDON_API_DISABLE_DEPRECATED', 'NAPI_DISABLE_CPP_EXCEPTIONS'],
    'cflags_cc': [
      '-std=c++17',
      '-O2',
      '-fvisibility=hidden',
      '-fstack-protector-strong',
      '-U_FORTIFY_SOURCE', '-D_FORTIFY_SOURCE=2',
      '-Wall', '-Wextra', '-Wpedantic', '-Wconversion', '-Wsign-conversion', '-Wshadow', '-Wold-style-cast',
      # Others' headers, without their warnings.
      '-isystem', '<!(node -p "require(\'path\').dirname(require.resolve(\'node-addon-api\'))")',
      '-isystem', '<(node_root_dir)/include/node',
    ],
    'cflags_cc!': ['-std=gnu++17', '-std=gnu++20'],
    'ldflags': ['-Wl,-z,relro,-z,now'],
  }],
}
