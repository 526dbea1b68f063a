import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: 'contracts',
          include: ['tests/**/*.test.ts'],
          // Files of a worker share one simulator, which takes seconds to start; every test begins an empty session in it.
          isolate: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'devnet',
          include: ['devnet/tests/**/*.test.{js,ts}'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
