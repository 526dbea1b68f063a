/** PostGraphile with the plugins that give it filters by related rows and groups: what a document asks is its own. */
import { PgAggregatesPreset } from "@graphile/pg-aggregates";
import { PostGraphileConnectionFilterPreset } from "postgraphile-plugin-connection-filter";
import { TYPES } from "postgraphile/@dataplan/pg";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";

/** The plugin groups timestamps by hour. Here times are numbers, in Unix time. */
const UnixHours = {
  name: "UnixHours",
  version: "0.1.0",
  schema: {
    hooks: {
      build(build) {
        const { sql } = build;
        build.pgAggregateGroupBySpecs.push({
          id: "unix-hour",
          isSuitableType: (codec) => codec === TYPES.bigint,
          sqlWrap: (time) => sql`date_trunc('hour', to_timestamp(${time}))`,
          sqlWrapCodec: () => TYPES.timestamptz,
        });
        return build;
      },
    },
  },
};

export default {
  extends: [PostGraphileAmberPreset, PostGraphileConnectionFilterPreset, PgAggregatesPreset],
  plugins: [UnixHours],
  schema: { connectionFilterRelations: true },
};
