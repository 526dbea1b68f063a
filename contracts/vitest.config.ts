import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    // How long a test takes says how busy the machine is: these end what hangs.
    testTimeout: 300_000,
    hookTimeout: 600_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'contracts',
          include: ['tests/**/*.test.ts'],
          // Files of a worker share one simulator, which takes seconds to start; every test begins an empty session in it.
          isolate: false,
        },
      },
      {
        extends: true,
        test: {
          name: 'devnet',
          include: ['devnet/tests/**/*.test.{js,ts}'],
        },
      },
    ],
  },
});
