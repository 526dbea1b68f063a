import type { Chain, Plain, PrintedEvent, Row } from '../chain.ts';
import { join, ModuleFold, pick } from './module.ts';

export class RegistryFold extends ModuleFold {
  readonly contract = 'bh-registry';
  readonly maps = ['roles', 'modules', 'versions', 'active-versions'];
  readonly variables = ['bootstrapped', 'seq'];
  readonly roles = new Map<string, Plain>();
  readonly modules = new Map<string, Row>();
  readonly activeVersions = new Map<string, Plain>();

  readonly rules = {
    'role.granted': (e: PrintedEvent) => this.roles.set(join(e, 'role', 'who'), { 'until-burn': e['until-burn']! }),
    'role.revoked': (e: PrintedEvent) => this.roles.delete(join(e, 'role', 'who')),
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
  };

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
  }
}
