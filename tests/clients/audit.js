// Runs the audits of GraphQL over HTTP against a server and writes their results as JSON: node audit.js URL
import { serverAudits } from 'graphql-http';

const [url] = process.argv.slice(2);
const results = [];
for (const audit of serverAudits({ url, fetchFn: fetch })) {
  const result = await audit.fn();
  const reason = result.status === 'ok' ? null : result.reason;
  results.push({ id: audit.id, name: audit.name, status: result.status, reason });
}
process.stdout.write(JSON.stringify(results));
