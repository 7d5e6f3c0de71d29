output "service_endpoint" {
  description = "Where the service answers, for clients."
  value       = "https://${var.domain_name != null ? var.domain_name : module.door.dns_name}"
}

output "alb_dns_name" {
  description = "The load balancer's own name; point a CNAME here where route53_zone_id was not given."
  value       = module.door.dns_name
}

output "ecr_repository_url" {
  description = "Where images are pushed to, without a tag."
  value       = module.registry.url
}

output "ecr_repository_name" {
  description = "Name of that repository."
  value       = module.registry.name
}

output "ecs_cluster_name" {
  description = "The cluster."
  value       = module.service.cluster
}

output "ecs_service_name" {
  description = "The service, for deploys."
  value       = module.service.service
}

output "task_definition_family" {
  description = "The family that deploys register revisions of."
  value       = module.service.family
}

output "task_definition_arn" {
  description = "The newest revision of this configuration: what a deploy copies, with its own image in place."
  value       = module.service.task_definition_arn
}

output "container_name" {
  description = "The service's container in the task definition, whose image a deploy replaces."
  value       = module.service.container
}

output "desired_count" {
  description = "How many tasks the first deploy sets, when the service was made without an image."
  value       = var.desired_count
}

output "one_off_task" {
  description = "What `aws ecs run-task` needs to run a command of manage.py in place of `serve`, like the migration."
  value = {
    cluster        = module.service.cluster
    family         = module.service.family
    container      = module.service.container
    subnets        = local.network.private_subnets
    security_group = module.firewall.service_id
    migrate        = ["migrate", "--noinput"]
  }
}

output "execution_role_arn" {
  description = "Role that starts tasks; who deploys must be allowed to pass it."
  value       = module.roles.execution_arn
}

output "task_role_arn" {
  description = "Role of the service; who deploys must be allowed to pass it."
  value       = module.roles.task_arn
}

output "vpc_id" {
  description = "The VPC, given or made."
  value       = local.network.vpc_id
}

output "service_security_group_id" {
  description = "Group of the tasks, to let them into what is yours."
  value       = module.firewall.service_id
}

output "alb_security_group_id" {
  description = "Group of the load balancer."
  value       = module.firewall.door_id
}

output "log_group_name" {
  description = "Logs of the tasks."
  value       = module.service.log_group_name
}

output "access_log_bucket" {
  description = "Access logs of the load balancer."
  value       = module.door.log_bucket
}

output "secret_arns" {
  description = "Secrets that ECS puts into the environment, by variable; values only in Secrets Manager."
  value       = local.secrets
}

output "database_endpoint" {
  description = "Host and port of the PostgreSQL that was made, or null."
  value       = one(module.database[*].endpoint)
}

output "redis_url" {
  description = "REDIS_URL of the Valkey that was made, or null."
  value       = one(module.cache[*].url)
}

output "kms_key_arn" {
  description = "The key of it all, given or made."
  value       = local.key_arn
}

output "alarm_topic_arn" {
  description = "Topic of the alarms, to subscribe a pager or a chat to."
  value       = module.watch.topic_arn
}

output "dashboard_url" {
  description = "The dashboard in the console."
  value       = "https://${var.aws_region}.console.aws.amazon.com/cloudwatch/home?region=${var.aws_region}#dashboards:name=${module.watch.dashboard}"
}
