import type { Chain, Plain, PrintedEvent, Row } from '../chain.ts';
import { join, ModuleFold, pick } from './module.ts';

export class RegistryFold extends ModuleFold {
  readonly contract = 'bh-registry';
  readonly maps = ['roles', 'modules', 'versions', 'active-versions', 'migrations', 'version-migrations'];
  readonly variables = ['bootstrapped', 'seq', 'last-migration'];
  readonly roles = new Map<string, Plain>();
  readonly modules = new Map<string, Row>();
  readonly activeVersions = new Map<string, Plain>();

  readonly migrations = new Map<string, Row>();

  readonly rules = {
    'role.granted': (e: PrintedEvent) => this.roles.set(join(e, 'role', 'who'), { 'until-burn': e['until-burn']! }),
    'role.revoked': (e: PrintedEvent) => this.roles.delete(join(e, 'role', 'who')),
    'role.expired': (e: PrintedEvent) => this.roles.delete(join(e, 'role', 'who')),
    'module.registered': (e: PrintedEvent) =>
      this.modules.set(join(e, 'module', 'version'), {
        ...pick(e, 'contract', 'code-hash', 'active-from-burn'),
        state: 'registered',
      }),
    'module.activated': (e: PrintedEvent) => {
      if (e['from-version'] !== null) this.modules.get(`${e['module']} ${e['from-version']}`)!['state'] = 'draining';
      this.modules.get(join(e, 'module', 'version'))!['state'] = 'active';
      this.activeVersions.set(join(e, 'module'), e['version']!);
    },
    'module.deprecated': (e: PrintedEvent) => {
      this.modules.get(join(e, 'module', 'version'))!['state'] = 'deprecated';
    },
    'migration.begun': (e: PrintedEvent) => this.migration(e),
    'migration.stepped': (e: PrintedEvent) => this.migration(e),
    'migration.finished': (e: PrintedEvent) => this.migration(e),
  };

  private migration(event: PrintedEvent): void {
    const row = pick(event, 'module', 'from-version', 'version', 'cursor', 'hash', 'done');
    this.migrations.set(join(event, 'migration'), row);
  }

  protected compare(chain: Chain): void {
    for (const [key, row] of this.roles) {
      const [role, who] = key.split(' ') as [string, string];
      this.same(chain, 'roles', { role, who }, row);
    }
    for (const [key, row] of this.modules) {
      const [module, version] = key.split(' ') as [string, string];
      this.same(chain, 'modules', { module, version: BigInt(version) }, row);
      this.same(chain, 'versions', { module, contract: String(row['contract']) }, BigInt(version));
    }
    for (const [module, version] of this.activeVersions) this.same(chain, 'active-versions', module, version);
    this.sameVariable(chain, 'last-migration', BigInt(this.migrations.size));
    for (const [id, row] of this.migrations) {
      this.same(chain, 'migrations', BigInt(id), row);
      this.same(chain, 'version-migrations', { module: String(row['module']), version: row['version'] as bigint }, BigInt(id));
    }
  }
}
